//! `lss scan`: one sweep of the network, printed. Without a daemon, and without any login: a wrong
//! one that is tried at each call would lock cameras' accounts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::probe;
use crate::application::camera::{AddressRules, OwnAddress};
use crate::application::discovery::{Inventory, Networks, Plan, ask_strangers, plan};
use crate::config::{self, Config, LoadRequest};
use crate::domain::discovery::{CameraScannerGateway as _, SweepReport};
use crate::domain::node::Camera;
use crate::infrastructure::discovery::Scanner;
use crate::infrastructure::http::doors::Doors;
use crate::infrastructure::system;
use crate::json::vendor as vendor_word;
use crate::util::time::Now;

/// Whether streams are where a vendor's usually are is asked for so long.
const STREAMS: Duration = Duration::from_secs(10);

/// What to look at.
#[derive(Debug, PartialEq, Eq)]
pub struct ScanRequest {
    /// CIDRs, addresses or `auto`; empty = as configured.
    pub subnets: Vec<String>,
    /// For programs.
    pub json: bool,
    /// Which configuration.
    pub load: LoadRequest,
}

/// Sweeps and prints: 0 it was swept, whatever was found; 1 it could not be; 2 bad arguments or
/// configuration.
pub fn run(request: &ScanRequest) -> ExitCode {
    let loaded = match config::load(&request.load, &config::process_env) {
        Ok(loaded) => loaded,
        Err(faults) => {
            for fault in &faults {
                err(&fault.to_string());
            }
            return ExitCode::from(2);
        }
    };
    for warning in &loaded.warnings {
        err(&format!("warning: {warning}"));
    }
    let networks = match networks(request, &loaded.config) {
        Ok(networks) => networks,
        Err(why) => {
            err(&why);
            return ExitCode::from(2);
        }
    };
    let mut scanner = match Scanner::new() {
        Ok(scanner) => scanner,
        Err(why) => {
            err(&format!("nothing can be swept: {why}"));
            return ExitCode::FAILURE;
        }
    };
    let camera = &loaded.config.camera;
    let plan = plan(
        &networks,
        &rules(camera.allow_loopback),
        [],
        camera.scan_timeout,
    );
    for note in &plan.notes {
        err(note);
    }
    let report = scanner.sweep(&plan.order);
    for warning in &report.warnings {
        err(&format!("warning: {warning}"));
    }
    let mut list = Inventory::default();
    list.swept(&plan.order, &report, Now::read());
    // No login is sent, so any certificate will do.
    let cameras = probe::cameras(&Doors::default());
    ask_strangers(&mut list, &cameras, Instant::now() + STREAMS);
    let found = Found::of(&plan, &report, &list);
    let text = if request.json {
        format!("{:#}\n", found.json())
    } else {
        found.table()
    };
    let mut out = std::io::stdout();
    // A reader that has gone away (`| head`) is no failure.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

fn networks(request: &ScanRequest, config: &Config) -> Result<Networks, String> {
    let camera = &config.camera;
    let (field, asked) = if request.subnets.is_empty() {
        ("camera.scan_subnet", &camera.scan_subnet)
    } else {
        ("--subnet", &request.subnets)
    };
    let networks =
        Networks::parse(field, asked, camera.allow_loopback).map_err(|fault| fault.to_string())?;
    if networks.is_empty() {
        return Err("camera.scan_subnet names no network: name one by --subnet".to_owned());
    }
    Ok(networks)
}

fn rules(allow_loopback: bool) -> AddressRules {
    let own = system::own_addresses().into_iter();
    AddressRules {
        allow_loopback,
        own: own.map(|(ip, prefix)| OwnAddress { ip, prefix }).collect(),
    }
}

/// What a sweep has found, and where it has looked.
struct Found<'a> {
    plan: &'a Plan,
    report: &'a SweepReport,
    cameras: Vec<Camera>,
    /// By address.
    names: BTreeMap<String, &'a str>,
}

impl<'a> Found<'a> {
    fn of(plan: &'a Plan, report: &'a SweepReport, list: &Inventory) -> Self {
        let named = |find: &'a crate::domain::discovery::Find| {
            Some((find.ip.to_string(), find.name.as_deref()?))
        };
        Self {
            plan,
            report,
            cameras: list.cameras(),
            names: report.finds.iter().filter_map(named).collect(),
        }
    }

    fn networks(&self) -> Vec<String> {
        self.plan.networks.iter().map(ToString::to_string).collect()
    }

    fn json(&self) -> Value {
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let cameras: Vec<Value> = self
            .cameras
            .iter()
            .map(|camera| {
                json!({
                    "ip": camera.ip,
                    "port": camera.port,
                    "onvif": camera.onvif,
                    "rtspUrl": filled(&camera.rtsp_url),
                    "vendor": vendor_word(camera),
                    "model": filled(&camera.model),
                    "name": self.names.get(&camera.ip),
                })
            })
            .collect();
        let report = self.report;
        json!({
            "cameras": cameras,
            "networks": self.networks(),
            "wsDiscovery": self.plan.order.multicast,
            "addresses": report.addresses,
            "tookMs": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
            "cutShort": report.cut_short,
            "others": report.others,
            "warnings": report.warnings,
        })
    }

    fn table(&self) -> String {
        let mut out = String::new();
        if !self.cameras.is_empty() {
            let head = [
                "ADDRESS", "PORT", "VENDOR", "MODEL", "ONVIF", "RTSP URL", "NAME",
            ];
            let mut rows = vec![head.map(str::to_owned)];
            rows.extend(self.cameras.iter().map(|camera| self.row(camera)));
            out.push_str(&columns(&rows));
            out.push('\n');
        }
        let report = self.report;
        let _ = writeln!(
            out,
            "{}: looked at {} in {:.1} s{}.",
            match self.cameras.len() {
                0 => "No camera found".to_owned(),
                1 => "1 camera".to_owned(),
                n => format!("{n} cameras"),
            },
            self.where_it_looked(),
            report.took.as_secs_f64(),
            if report.cut_short {
                "; that was cut short by camera.scan_timeout, so there may be more"
            } else {
                ""
            },
        );
        if self.cameras.is_empty() {
            out.push_str(
                "Are the cameras in another network? Name it: lss scan --subnet 192.168.1.0/24\n",
            );
        }
        if !report.others.is_empty() {
            out.push_str("\nOpen, but no camera as far as can be seen:\n");
            for other in &report.others {
                let _ = writeln!(out, "  {}", plain(other));
            }
        }
        out
    }

    fn where_it_looked(&self) -> String {
        let addresses = match self.report.addresses {
            0 => "no address".to_owned(),
            1 => "1 address".to_owned(),
            n => format!("{n} addresses"),
        };
        let networks = self.networks().join(", ");
        let within = if networks.is_empty() {
            String::new()
        } else {
            format!(" of {networks}")
        };
        let asked = if self.plan.order.multicast {
            " and asked by WS-Discovery"
        } else {
            ""
        };
        format!("{addresses}{within}{asked}")
    }

    fn row(&self, camera: &Camera) -> [String; 7] {
        let name = self.names.get(&camera.ip).copied().unwrap_or_default();
        let or_dash = |text: &str| {
            let text = plain(text);
            if text.is_empty() {
                "-".to_owned()
            } else {
                text
            }
        };
        [
            camera.ip.clone(),
            camera.port.to_string(),
            or_dash(vendor_word(camera)),
            or_dash(&camera.model),
            if camera.onvif { "yes" } else { "no" }.to_owned(),
            or_dash(&camera.rtsp_url),
            or_dash(name),
        ]
    }
}

/// Columns as wide as their widest cell, the last one as it is.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(line, "{cell:<width$}  ", width = width(column));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// What comes from the network must not steer a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn err(line: &str) {
    let _ = writeln!(std::io::stderr(), "lss: {}", plain(line));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::discovery::{Certainty, Find, VendorGuess};

    fn list(plan: &Plan, report: &SweepReport) -> Inventory {
        let mut list = Inventory::default();
        list.swept(&plan.order, report, Now::read());
        list
    }

    fn swept(finds: Vec<Find>, others: &[&str]) -> SweepReport {
        SweepReport {
            finds,
            addresses: 254,
            took: Duration::from_millis(1_834),
            others: others.iter().map(|o| (*o).to_owned()).collect(),
            ..SweepReport::default()
        }
    }

    fn site() -> Plan {
        let networks = Networks::parse("s", &["192.168.0.0/24".to_owned()], false).unwrap();
        let timeout = Duration::from_secs(30);
        plan(&networks, &AddressRules::default(), [], timeout)
    }

    fn dome() -> Find {
        Find {
            ip: "192.168.0.64".parse().unwrap(),
            endpoint: None,
            mac: None,
            rtsp_port: Some(554),
            http_port: Some(80),
            onvif: Some((80, "/onvif/device_service".into())),
            isapi: true,
            vendor: Some(VendorGuess {
                vendor: "HIKVISION".into(),
                certainty: Certainty::Said,
            }),
            model: Some("DS-2CD2T45FWD".into()),
            name: Some("Gate\u{1b}[31m".into()),
        }
    }

    #[test]
    fn a_table_for_people() {
        let (plan, report) = (
            site(),
            swept(vec![dome()], &["192.168.0.1:80: a router's page"]),
        );
        assert_eq!(
            Found::of(&plan, &report, &list(&plan, &report)).table(),
            "ADDRESS       PORT  VENDOR     MODEL          ONVIF  RTSP URL                                        NAME\n\
             192.168.0.64  554   HIKVISION  DS-2CD2T45FWD  yes    rtsp://192.168.0.64:554/Streaming/Channels/101  Gate[31m\n\
             \n\
             1 camera: looked at 254 addresses of 192.168.0.0/24 and asked by WS-Discovery in 1.8 s.\n\
             \n\
             Open, but no camera as far as can be seen:\n  \
               192.168.0.1:80: a router's page\n"
        );
    }

    #[test]
    fn no_camera_is_said_plainly() {
        let mut report = swept(Vec::new(), &[]);
        report.cut_short = true;
        let plan = site();
        let text = Found::of(&plan, &report, &list(&plan, &report)).table();
        assert!(text.starts_with("No camera found: looked at 254 addresses of 192.168.0.0/24"));
        assert!(
            text.contains("cut short") && text.contains("--subnet"),
            "{text}"
        );
    }

    #[test]
    fn json_for_programs() {
        let (plan, report) = (site(), swept(vec![dome()], &[]));
        let json = Found::of(&plan, &report, &list(&plan, &report)).json();
        assert_eq!(json["cameras"][0]["model"], "DS-2CD2T45FWD");
        assert_eq!(json["cameras"][0]["onvif"], true);
        assert_eq!(json["networks"], json!(["192.168.0.0/24"]));
        assert_eq!(json["tookMs"], 1_834);
    }
}

//! What the operating system says: its name, processors, memory, addresses, limits. Parsers are
//! pure; the readers around them take what the kernel has at hand and send nothing.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{SysconfVar, gethostname, sysconf};

use crate::domain::gateway::{SystemProbe, SystemSample};

/// Two looks closer together than this get the same processor usage: the difference of two
/// counters of 10 ms says nothing over less.
const MIN_CPU_SPAN: Duration = Duration::from_secs(1);
/// An address found is believed this long (DHCP).
const ADDRESS_FRESH: Duration = Duration::from_secs(30);
/// No file of /proc that is read here is longer, but for routing tables of routers; their default
/// route is at the top.
const MAX_PROC: u64 = 256 * 1024;
/// More descriptors than this nothing here needs; some systems' hard limit is a thousand million,
/// and there are programs that close every possible descriptor one by one.
const ENOUGH_FILES: u64 = 65_536;

/// Counters of `/proc/stat`, in clock ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTimes {
    /// Neither idle nor waiting for a disk.
    pub busy: u64,
    /// All.
    pub total: u64,
}

impl CpuTimes {
    /// Percent busy between `earlier` and now; `None` if no time has passed or a counter ran
    /// backwards (iowait does that).
    pub fn percent_since(self, earlier: Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|t| *t > 0)?;
        let busy = self.busy.checked_sub(earlier.busy)?.min(total);
        Some(percent(busy, total))
    }
}

/// One decimal, as the spec's example has it.
fn percent(part: u64, whole: u64) -> f64 {
    // Ticks and bytes stay far below 2^52, where f64 is exact.
    #[expect(clippy::cast_precision_loss)]
    let ratio = part as f64 / whole as f64;
    (ratio * 1000.0).round() / 10.0
}

/// The machine's line of `/proc/stat`.
pub fn parse_cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().find_map(|l| l.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; guest times are contained in user and nice.
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map(|t| t.parse().ok())
        .collect::<Option<_>>()?;
    let idle = ticks.get(3)?.saturating_add(*ticks.get(4).unwrap_or(&0));
    let total = ticks.iter().fold(0u64, |sum, t| sum.saturating_add(*t));
    Some(CpuTimes {
        busy: total.saturating_sub(idle),
        total,
    })
}

/// Total and available bytes of `/proc/meminfo`. Kernels before 3.14 have no `MemAvailable`: free
/// memory and caches stand in for it.
pub fn parse_meminfo(meminfo: &str) -> Option<(u64, u64)> {
    let kib = |key: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|l| l.strip_prefix(key))?;
        let number = line.strip_prefix(':')?.trim().trim_end_matches("kB").trim();
        number.parse::<u64>().ok()?.checked_mul(1024)
    };
    let total = kib("MemTotal").filter(|t| *t > 0)?;
    let available = match kib("MemAvailable") {
        Some(available) => available,
        None => ["MemFree", "Buffers", "Cached"]
            .iter()
            .filter_map(|key| kib(key))
            .fold(0, u64::saturating_add),
    };
    Some((total, available.min(total)))
}

/// The interface of the best default route in `/proc/net/route`.
pub fn parse_default_route(route: &str) -> Option<&str> {
    const UP: u32 = 1;
    let mut best: Option<(u32, &str)> = None;
    for line in route.lines().skip(1) {
        let mut fields = line.split_whitespace();
        let (Some(name), Some("00000000")) = (fields.next(), fields.next()) else {
            continue;
        };
        // Iface Destination | Gateway Flags RefCnt Use Metric Mask …
        let rest: Vec<&str> = fields.take(6).collect();
        let (Some(flags), Some(metric), Some(&"00000000")) =
            (rest.get(1), rest.get(4), rest.get(5))
        else {
            continue;
        };
        let up = u32::from_str_radix(flags, 16).is_ok_and(|f| f & UP != 0);
        let Ok(metric) = metric.parse::<u32>() else {
            continue;
        };
        if up && best.is_none_or(|(least, _)| metric < least) {
            best = Some((metric, name));
        }
    }
    best.map(|(_, name)| name)
}

/// The address that the site knows this machine under: IPv4 before IPv6, the default route's
/// interface before others, in the system's order; never loopback or link-local.
pub fn pick_address(addresses: &[(String, IpAddr)], default_route: Option<&str>) -> Option<IpAddr> {
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => {
            !v4.is_loopback()
                && !v4.is_link_local()
                && !v4.is_unspecified()
                && !v4.is_multicast()
                && *v4 != Ipv4Addr::BROADCAST
        }
        IpAddr::V6(v6) => {
            !v6.is_loopback()
                && !v6.is_unspecified()
                && !v6.is_multicast()
                && !v6.is_unicast_link_local()
        }
    };
    addresses
        .iter()
        .filter(|(_, ip)| usable(ip))
        // The first of the least: min_by_key keeps the system's order among equals.
        .min_by_key(|(name, ip)| (ip.is_ipv6(), Some(name.as_str()) != default_route))
        .map(|(_, ip)| *ip)
}

/// A plain address and nothing else, as services like api.ipify.org answer.
pub fn parse_public_ip(text: &str) -> Option<IpAddr> {
    text.trim().parse().ok()
}

/// Linux, by /proc and a few system calls.
pub struct LinuxSystem {
    configured_ip: Option<IpAddr>,
    os: String,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    cpu: Option<(Instant, CpuTimes)>,
    cpu_usage: Option<f64>,
    address: Option<(Instant, Option<IpAddr>)>,
}

impl LinuxSystem {
    /// `configured_ip` wins over detection.
    pub fn new(configured_ip: Option<IpAddr>) -> Self {
        Self {
            configured_ip,
            os: os_name(),
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cpu_usage(&self, now: Instant) -> Option<f64> {
        let times = parse_cpu_times(&read_proc("/proc/stat")?)?;
        let mut seen = self.seen();
        match seen.cpu {
            Some((at, _)) if now.saturating_duration_since(at) < MIN_CPU_SPAN => {}
            Some((_, earlier)) => {
                // A counter that ran backwards: the last good number stands for one more look.
                seen.cpu_usage = times.percent_since(earlier).or(seen.cpu_usage);
                seen.cpu = Some((now, times));
            }
            None => {
                seen.cpu_usage = times.percent_since(CpuTimes::default());
                seen.cpu = Some((now, times));
            }
        }
        seen.cpu_usage
    }

    fn address(&self, now: Instant) -> Option<IpAddr> {
        if self.configured_ip.is_some() {
            return self.configured_ip;
        }
        if let Some((at, ip)) = self.seen().address
            && now.saturating_duration_since(at) < ADDRESS_FRESH
        {
            return ip;
        }
        let ip = detect_ip();
        self.seen().address = Some((now, ip));
        ip
    }
}

impl SystemProbe for LinuxSystem {
    fn sample(&self, now: Instant) -> SystemSample {
        let memory = read_proc("/proc/meminfo").and_then(|text| parse_meminfo(&text));
        let (total, available) = memory.unwrap_or((0, 0));
        SystemSample {
            os: self.os.clone(),
            cpu_cores: online_cores(),
            total_memory: total,
            available_memory: available,
            cpu_usage: self.cpu_usage(now),
            memory_usage: memory.map(|_| percent(total - available, total)),
            node_ip: self.address(now),
        }
    }
}

fn read_proc(path: &str) -> Option<String> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(MAX_PROC)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// Kernel name and release, e.g. `Linux 5.15.0`.
pub fn os_name() -> String {
    match nix::sys::utsname::uname() {
        Ok(name) => format!(
            "{} {}",
            name.sysname().to_string_lossy(),
            name.release().to_string_lossy()
        ),
        Err(_) => "Linux".to_owned(),
    }
}

/// The machine's, not those that a cgroup leaves us.
fn online_cores() -> usize {
    sysconf(SysconfVar::_NPROCESSORS_ONLN)
        .ok()
        .flatten()
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(1)
        .max(1)
}

/// See [`pick_address`]. Asks the kernel only.
pub fn detect_ip() -> Option<IpAddr> {
    let wanted = InterfaceFlags::IFF_UP;
    let addresses: Vec<(String, IpAddr)> = getifaddrs()
        .ok()?
        .filter(|i| i.flags.contains(wanted) && !i.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .filter_map(|i| {
            let address = i.address?;
            let ip = address
                .as_sockaddr_in()
                .map(|v4| IpAddr::V4(v4.ip()))
                .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
            Some((i.interface_name, ip))
        })
        .collect();
    let route = read_proc("/proc/net/route").unwrap_or_default();
    pick_address(&addresses, parse_default_route(&route))
}

/// The host's name; `None` if it has none, or one that is no text.
pub fn host_name() -> Option<String> {
    let name = gethostname().ok()?.into_string().ok()?;
    (!name.is_empty()).then_some(name)
}

/// Raises the soft limit of open files towards the hard one; returns what holds now. A service
/// manager's default of 1,024 is little for 64 connections and a few pipes per child.
pub fn raise_open_files() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(ENOUGH_FILES);
    if soft >= wanted {
        return Ok(soft);
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cpu_between_two_looks() {
        let first =
            parse_cpu_times("cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2 3 4\nintr 9\n").unwrap();
        assert_eq!(
            first,
            CpuTimes {
                busy: 150,
                total: 1000
            }
        );
        let second = parse_cpu_times("cpu  130 5 60 950 55 0 0 0 9 0\n").unwrap();
        assert_eq!(second.percent_since(first), Some(22.5));
        assert_eq!(first.percent_since(first), None);
        assert_eq!(first.percent_since(second), None);
        assert_eq!(first.percent_since(CpuTimes::default()), Some(15.0));
        // Kernels of long ago have four columns.
        assert!(parse_cpu_times("cpu  1 2 3 4\n").is_some());
        for bad in ["", "cpu0 1 2 3 4\n", "cpu  1 2\n", "cpu  a b c d\n"] {
            assert_eq!(parse_cpu_times(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn memory_with_and_without_available() {
        let new = "MemTotal:        1000 kB\nMemFree: 100 kB\nMemAvailable:     400 kB\n";
        assert_eq!(parse_meminfo(new), Some((1_024_000, 409_600)));
        let old = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 200 kB\nSwapCached: 9 kB\n";
        assert_eq!(parse_meminfo(old), Some((1_024_000, 358_400)));
        assert_eq!(parse_meminfo("MemTotal: 0 kB\n"), None);
        assert_eq!(parse_meminfo("MemTotalX: 1 kB\n"), None);
    }

    const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
        wwan0\t00000000\t0100000A\t0003\t0\t0\t700\t00000000\t0\t0\t0\n\
        down0\t00000000\t0100000A\t0002\t0\t0\t1\t00000000\t0\t0\t0\n\
        eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";

    #[test]
    fn the_default_route_with_the_least_metric_that_is_up() {
        assert_eq!(parse_default_route(ROUTE), Some("eth0"));
        assert_eq!(parse_default_route("Iface\tDestination\n"), None);
        assert_eq!(parse_default_route(""), None);
    }

    #[test]
    fn the_address_the_site_knows_us_under() {
        let list = |text: &[(&str, &str)]| -> Vec<(String, IpAddr)> {
            text.iter()
                .map(|(n, a)| ((*n).to_owned(), a.parse().unwrap()))
                .collect()
        };
        let all = list(&[
            ("lo", "127.0.0.1"),
            ("eth1", "169.254.3.4"),
            ("docker0", "172.17.0.1"),
            ("eth0", "fe80::1"),
            ("eth0", "2001:db8::5"),
            ("eth0", "192.168.0.100"),
            ("eth0", "192.168.0.101"),
        ]);
        let pick = |route| pick_address(&all, route).unwrap().to_string();
        assert_eq!(pick(Some("eth0")), "192.168.0.100");
        assert_eq!(pick(Some("tun9")), "172.17.0.1");
        assert_eq!(pick(None), "172.17.0.1");
        let only6 = list(&[("eth0", "fe80::1"), ("eth0", "2001:db8::5")]);
        assert_eq!(
            pick_address(&only6, None).unwrap().to_string(),
            "2001:db8::5"
        );
        assert_eq!(pick_address(&list(&[("lo", "::1")]), None), None);
    }

    #[test]
    fn a_public_address_is_an_address_and_nothing_else() {
        assert_eq!(
            parse_public_ip("203.0.113.9\n").unwrap().to_string(),
            "203.0.113.9"
        );
        assert!(parse_public_ip("2001:db8::1").is_some());
        for bad in ["", "<html>", "203.0.113.9 x", "203.0.113.9,10.0.0.1"] {
            assert_eq!(parse_public_ip(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn this_machine_says_something() {
        let system = LinuxSystem::new(Some("192.0.2.7".parse().unwrap()));
        let t0 = Instant::now();
        let first = system.sample(t0);
        assert!(first.os.starts_with("Linux "), "{}", first.os);
        assert!(first.cpu_cores >= 1);
        assert!(first.total_memory > first.available_memory);
        assert!((0.0..=100.0).contains(&first.cpu_usage.unwrap()));
        assert!((0.0..=100.0).contains(&first.memory_usage.unwrap()));
        assert_eq!(first.node_ip, Some("192.0.2.7".parse().unwrap()));
        // Too close: the number stands.
        let again = system.sample(t0 + Duration::from_millis(10));
        assert_eq!(again.cpu_usage, first.cpu_usage);
        assert!(system.sample(t0 + MIN_CPU_SPAN).cpu_usage.is_some());
    }

    #[test]
    fn the_open_files_limit_never_sinks() {
        let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let now = raise_open_files().unwrap();
        assert!(now >= before && now <= hard);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, now);
        assert_eq!(raise_open_files().unwrap(), now);
    }

    proptest! {
        #[test]
        fn no_text_panics_a_parser(text in any::<String>()) {
            let _ = parse_cpu_times(&text);
            let _ = parse_meminfo(&text);
            let _ = parse_default_route(&text);
            let _ = parse_public_ip(&text);
            let _ = parse_cpu_times(&format!("cpu  {text}"));
            let _ = parse_meminfo(&format!("MemTotal: {text}"));
        }
    }
}

//! How a key is read: from the text of one value, a list, a file that it names.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::FaultPlace;
use super::reader::{Field, Given, Key, Reader, Section, Source};
use super::row::Row;
use super::value::{self, Wrong};
use crate::util::secret::Secret;

/// Completes a row with what its source knows, and adds those of its file and its entries.
pub(super) fn describe<T>(source: &impl Source<T>, row: Row, out: &mut Vec<Row>) {
    let mut row = Row {
        takes: source.takes(),
        ..row
    };
    if source.required() {
        row.default.clear();
    }
    let file = source.file().map(|name| Row {
        key: name,
        about: " A file that holds it instead.",
        takes: "a file".to_owned(),
        default: "''".to_owned(),
        env: None,
        reload: row.reload,
    });
    out.push(row);
    out.extend(file);
    source.entries(out);
}

/// One text → one value, or what would be right.
type Parser<T> = Box<dyn Fn(&str) -> Result<T, Wrong>>;

/// One value.
pub(super) struct Scalar<T> {
    parse: Parser<T>,
    takes: String,
    required: bool,
}

/// One value, in words and as it is parsed.
pub(super) fn of<T>(takes: &str, parse: impl Fn(&str) -> Result<T, Wrong> + 'static) -> Scalar<T> {
    Scalar {
        parse: Box::new(parse),
        takes: takes.to_owned(),
        required: false,
    }
}

/// One value that has to be there.
pub(super) fn required<T>(
    takes: &str,
    parse: impl Fn(&str) -> Result<T, Wrong> + 'static,
) -> Scalar<T> {
    Scalar {
        required: true,
        ..of(takes, parse)
    }
}

/// `''` = none.
pub(super) fn optional<T: 'static>(
    takes: &str,
    parse: impl Fn(&str) -> Result<T, Wrong> + 'static,
) -> Scalar<Option<T>> {
    of(takes, value::optional(parse))
}

/// One of a few words.
pub(super) fn choice<T: Copy + 'static>(words: &'static [(&'static str, T)]) -> Scalar<T> {
    let names = value::names(words);
    of(&names, move |text| value::choice(text, words))
}

pub(super) fn flag() -> Scalar<bool> {
    of("true or false", value::boolean)
}

/// A span of time.
pub(super) fn span(min: Duration, max: Duration) -> Scalar<Duration> {
    let shown = value::shown_duration;
    of(
        &format!("{} to {}", shown(min), shown(max)),
        value::duration(min..=max),
    )
}

/// A whole number in a range that the type holds.
pub(super) fn number<T: TryFrom<i64>>(range: RangeInclusive<i64>) -> Scalar<T> {
    of(
        &format!("{} to {}", range.start(), range.end()),
        move |text| {
            let number = value::number(range.clone())(text)?;
            T::try_from(number).map_err(|_| "is too large".to_owned())
        },
    )
}

impl<T> Source<T> for Scalar<T> {
    fn read<'a>(
        &self,
        r: &mut Reader<'a>,
        section: &Section<'a>,
        key: Key,
        default: T,
    ) -> Field<T> {
        let field = r.read(section, key.name, key.env, default, &self.parse);
        if self.required && !field.given {
            r.fault(&field.place, "is missing");
        }
        field
    }

    fn takes(&self) -> String {
        self.takes.clone()
    }

    fn required(&self) -> bool {
        self.required
    }
}

/// A secret. `''` = none.
pub(super) struct SecretText {
    takes: &'static str,
    make: fn(String) -> Secret,
    check: fn(&str) -> Result<(), Wrong>,
    /// With its path, for the table.
    file: Option<&'static str>,
}

pub(super) fn secret(
    takes: &'static str,
    make: fn(String) -> Secret,
    check: fn(&str) -> Result<(), Wrong>,
) -> SecretText {
    SecretText {
        takes,
        make,
        check,
        file: None,
    }
}

impl SecretText {
    /// The key, with its path, that names a file with the secret.
    pub(super) fn or_file(self, key: &'static str) -> Self {
        Self {
            file: Some(key),
            ..self
        }
    }
}

impl Source<Option<Secret>> for SecretText {
    fn read<'a>(
        &self,
        r: &mut Reader<'a>,
        section: &Section<'a>,
        key: Key,
        _: Option<Secret>,
    ) -> Field<Option<Secret>> {
        let written = r.secret(section, key.name, key.env, self.make, self.check);
        let Some(path) = self.file else {
            return written;
        };
        if matches!(written.place, FaultPlace::Env(_)) {
            r.knows(path);
            return written;
        }
        let file = r.secret_file(section, last(path), self.check);
        either(r, written, file, &section.path_of(key.name))
    }

    fn takes(&self) -> String {
        self.takes.to_owned()
    }

    fn file(&self) -> Option<&'static str> {
        self.file
    }
}

/// A camera's password, or the file that holds it: one of the two has to be there. An empty password
/// is a password here, if it is written down.
pub(super) struct Password;

const PASSWORD_FILE: &str = "camera.credentials[].password_file";

impl Source<Secret> for Password {
    fn read<'a>(
        &self,
        r: &mut Reader<'a>,
        section: &Section<'a>,
        key: Key,
        default: Secret,
    ) -> Field<Secret> {
        let written = r.read(section, key.name, key.env, None, |text| {
            value::password(text).map(|()| Some(Secret::new(text)))
        });
        if written.value.as_ref().is_some_and(|p| !p.is_empty()) {
            r.note_secret();
        }
        let file = r.secret_file(section, last(PASSWORD_FILE), value::password);
        let neither = !written.given && !file.given;
        let place = written.place.clone();
        let password = either(r, written, file, key.name);
        if neither {
            r.fault(&place, "is missing: set password or password_file");
        }
        password.map(|password| password.unwrap_or(default))
    }

    fn takes(&self) -> String {
        "a password".to_owned()
    }

    fn required(&self) -> bool {
        true
    }

    fn file(&self) -> Option<&'static str> {
        Some(PASSWORD_FILE)
    }
}

/// One secret that may be written down or kept in a file, but not both.
fn either(
    r: &mut Reader<'_>,
    written: Field<Option<Secret>>,
    file: Field<Option<Secret>>,
    name: &str,
) -> Field<Option<Secret>> {
    if written.value.is_some() && file.value.is_some() {
        r.fault(
            &file.place,
            format!("is set beside {name}: take one of the two out"),
        );
    }
    let sound = written.sound && file.sound;
    let from = if written.value.is_some() {
        written
    } else {
        file
    };
    Field { sound, ..from }
}

fn last(path: &'static str) -> &'static str {
    path.rsplit('.').next().unwrap_or(path)
}

/// A list of host names and addresses.
pub(super) struct Hosts;

impl Source<Vec<String>> for Hosts {
    fn read<'a>(
        &self,
        r: &mut Reader<'a>,
        section: &Section<'a>,
        key: Key,
        _: Vec<String>,
    ) -> Field<Vec<String>> {
        let hosts = r.read_list(section, key.name, value::host);
        r.whole(section, key.name, hosts)
    }

    fn takes(&self) -> String {
        "a list of hosts".to_owned()
    }
}

/// An empty list = none.
impl Source<Option<Vec<String>>> for Hosts {
    fn read<'a>(
        &self,
        r: &mut Reader<'a>,
        section: &Section<'a>,
        key: Key,
        _: Option<Vec<String>>,
    ) -> Field<Option<Vec<String>>> {
        let hosts: Field<Vec<String>> = self.read(r, section, key, Vec::new());
        hosts.map(|hosts| (!hosts.is_empty()).then_some(hosts))
    }

    fn takes(&self) -> String {
        Source::<Vec<String>>::takes(self)
    }
}

/// A file of PEM certificates. `''` = none.
pub(super) struct CaFile;

impl Source<Option<PathBuf>> for CaFile {
    fn read<'a>(
        &self,
        r: &mut Reader<'a>,
        section: &Section<'a>,
        key: Key,
        _: Option<PathBuf>,
    ) -> Field<Option<PathBuf>> {
        let path = r.ca_file(section, key.name);
        r.whole(section, key.name, path)
    }

    fn takes(&self) -> String {
        "a PEM file".to_owned()
    }
}

/// HTTP headers, each value a secret.
pub(super) struct Headers;

impl Source<Vec<(String, Secret)>> for Headers {
    fn read<'a>(
        &self,
        r: &mut Reader<'a>,
        section: &Section<'a>,
        key: Key,
        _: Vec<(String, Secret)>,
    ) -> Field<Vec<(String, Secret)>> {
        let headers = r.secrets_by_name(
            section,
            key.name,
            value::is_header_name,
            value::header_value,
        );
        r.whole(section, key.name, headers)
    }

    fn takes(&self) -> String {
        "names with values".to_owned()
    }
}

/// Addresses that one sweep takes at most: a /16.
const MAX_SCANNED: u64 = 65_536;

/// The networks to scan, or `auto`. Reads `scan_enabled` and `allow_loopback` beside it.
pub(super) struct Subnets;

impl Source<Vec<String>> for Subnets {
    fn read<'a>(
        &self,
        r: &mut Reader<'a>,
        section: &Section<'a>,
        key: Key,
        default: Vec<String>,
    ) -> Field<Vec<String>> {
        let set = |name, default| {
            let text = section.text_of(name);
            text.map_or(default, |text| value::boolean(text).unwrap_or(default))
        };
        let (enabled, loopback) = (set("scan_enabled", true), set("allow_loopback", false));
        let networks = match r.list(section, key.name) {
            Some(given) => subnets(r, given, enabled, loopback),
            None => default,
        };
        r.whole(section, key.name, networks)
    }

    fn takes(&self) -> String {
        "private networks, or auto".to_owned()
    }
}

fn subnets(
    r: &mut Reader<'_>,
    given: Vec<Given>,
    enabled: bool,
    allow_loopback: bool,
) -> Vec<String> {
    let alone = given.len() == 1;
    let mut out: Vec<String> = Vec::new();
    let mut size = 0;
    let mut last = None;
    let mut sound = true;
    for item in given {
        if item.text.eq_ignore_ascii_case("auto") {
            if alone {
                return vec!["auto".to_owned()];
            }
            r.fault(&item.place, "auto stands alone, without other networks");
            sound = false;
            continue;
        }
        let subnet = match value::subnet(&item.text) {
            Ok(subnet) => subnet,
            Err(wrong) => {
                r.fault(&item.place, wrong);
                sound = false;
                continue;
            }
        };
        if subnet.first().is_loopback() && !allow_loopback {
            r.fault(
                &item.place,
                "is this machine itself: set camera.allow_loopback if cameras are reached there",
            );
        } else if !subnet.is_private() {
            r.fault(
                &item.place,
                "is not a private network: only private networks are scanned",
            );
        } else if subnet.is_nobody() {
            r.fault(
                &item.place,
                "is where clouds keep their machines' credentials",
            );
        }
        size += subnet.size();
        let text = subnet.to_string();
        if !out.contains(&text) {
            out.push(text);
        }
        last = Some(item.place);
    }
    if let Some(place) = last
        && size > MAX_SCANNED
    {
        r.fault(
            &place,
            format!("makes more than {MAX_SCANNED} addresses in all (a /16): name fewer networks"),
        );
    }
    if enabled && sound && out.is_empty() {
        let place = FaultPlace::File {
            name: r.file_name().to_owned(),
            line: None,
            key: Some("camera.scan_subnet".to_owned()),
        };
        r.fault(
            &place,
            "names no network: name one, or auto, or set camera.scan_enabled to false",
        );
    }
    out
}

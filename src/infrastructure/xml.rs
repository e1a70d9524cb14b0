//! Small XML documents from cameras as a bounded tree, and their writing.
//!
//! Elements are found by local name in any case, because prefixes, default namespaces and even
//! the case are each vendor's own. No DTD is ever read, no entity but the five of XML is resolved,
//! nothing is deeper or larger than the limits: what is over them is an error, never a long wait.
//!
//! A byte that carries nothing costs no document: what stands behind the root is not looked at, an
//! ampersand that begins no reference stands for itself, a document type without entities is
//! stepped over.

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesDecl, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer};

pub mod whole;

/// Deepest nesting.
const MAX_DEPTH: usize = 48;
/// Most elements.
const MAX_ELEMENTS: usize = 40_000;
/// Most attributes of one element.
const MAX_ATTRIBUTES: usize = 64;
/// Longest document in bytes: a recorder with many profiles sends about 300 kB.
pub const MAX_DOCUMENT: usize = 1024 * 1024;

/// Why a text is no document of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Nothing there.
    #[error("empty answer")]
    Empty,
    /// A web page: wrong path, or a login page.
    #[error("a web page instead of XML")]
    Html,
    /// Over [`MAX_DOCUMENT`].
    #[error("XML over {MAX_DOCUMENT} bytes")]
    TooLong,
    /// Over the limits on nesting, elements or attributes.
    #[error("XML too deep or with too many elements")]
    TooBig,
    /// A document type that brings entities of its own: how XML bombs are built.
    #[error("XML with entities of its own")]
    Forbidden,
    /// Not well formed.
    #[error("broken XML at byte {0}")]
    Broken(u64),
}

/// One element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Without prefix.
    pub name: String,
    /// Names without prefix; declarations of namespaces left out.
    attributes: Vec<(String, String)>,
    text: String,
    /// In document order.
    pub children: Vec<Element>,
}

impl Element {
    /// Its own text, trimmed: publishers and cameras pad it with line ends.
    pub fn text(&self) -> &str {
        self.text.trim()
    }

    /// An attribute, trimmed.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    }

    /// The first child of a name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children
            .iter()
            .find(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// All children of a name.
    pub fn children_of<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a Self> + use<'a, 'n> {
        self.children
            .iter()
            .filter(move |c| c.name.eq_ignore_ascii_case(name))
    }

    /// Down a path of first children.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |here, name| here.child(name))
    }

    /// The text of a child, `None` where it is missing or empty.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.text_at(&[name])
    }

    /// The text down a path, `None` where it is missing or empty.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).map(Self::text).filter(|t| !t.is_empty())
    }

    /// The first element of a name below this one, in document order.
    pub fn find(&self, name: &str) -> Option<&Self> {
        self.children.iter().find_map(|c| {
            if c.name.eq_ignore_ascii_case(name) {
                Some(c)
            } else {
                c.find(name)
            }
        })
    }

    /// Every element of a name below this one, in document order; not those inside a hit.
    pub fn find_all<'a>(&'a self, name: &str) -> Vec<&'a Self> {
        let mut hits = Vec::new();
        self.collect(name, &mut hits);
        hits
    }

    fn collect<'a>(&'a self, name: &str, hits: &mut Vec<&'a Self>) {
        for child in &self.children {
            if child.name.eq_ignore_ascii_case(name) {
                hits.push(child);
            } else {
                child.collect(name, hits);
            }
        }
    }
}

/// `true`, `TRUE`, `1`; `false`, `0`; `None` else.
pub fn as_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A finite number in any form that XML schema has (`0.5`, `5E-1`, ` -0 `).
pub fn as_number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|n: &f64| n.is_finite())
}

/// Reads a document. Bytes that are no UTF-8 become U+FFFD: names in another encoding are no
/// reason to fail. A byte order mark, space and NULs around the document are stepped over, and
/// whatever stands behind its root: buffers are sent with more than was written into them.
pub fn parse(bytes: &[u8]) -> Result<Element, XmlError> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(XmlError::TooLong);
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text
        .trim_start_matches('\u{feff}')
        .trim_matches(|c: char| c.is_whitespace() || c == '\0');
    if text.is_empty() {
        return Err(XmlError::Empty);
    }
    if is_html(text) {
        return Err(XmlError::Html);
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().allow_dangling_amp = true;
    // The innermost open element is the last; the document itself is the first.
    let mut open = vec![Element::default()];
    let mut count = 0_usize;
    loop {
        let event = reader
            .read_event()
            .map_err(|_| XmlError::Broken(reader.error_position()))?;
        let here = reader.buffer_position();
        match event {
            Event::Start(start) => {
                count += 1;
                if open.len() > MAX_DEPTH || count > MAX_ELEMENTS {
                    return Err(XmlError::TooBig);
                }
                open.push(element(&start)?);
            }
            Event::Empty(start) => {
                count += 1;
                if open.len() > MAX_DEPTH || count > MAX_ELEMENTS {
                    return Err(XmlError::TooBig);
                }
                let done = element(&start)?;
                parent(&mut open, here)?.children.push(done);
            }
            Event::End(_) => {
                let done = open.pop().ok_or(XmlError::Broken(here))?;
                parent(&mut open, here)?.children.push(done);
            }
            Event::Text(text) => parent(&mut open, here)?
                .text
                .push_str(&text.xml10_content()),
            Event::CData(text) => parent(&mut open, here)?
                .text
                .push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                refer(
                    &mut parent(&mut open, here)?.text,
                    &reference.xml10_content(),
                );
            }
            Event::DocType(declared) => {
                if declared
                    .xml10_content()
                    .to_ascii_uppercase()
                    .contains("<!ENTITY")
                {
                    return Err(XmlError::Forbidden);
                }
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return Err(XmlError::Broken(here)),
        }
        if let [document] = open.as_mut_slice()
            && let Some(root) = document.children.pop()
        {
            // Nothing but space before it.
            return if document.text.trim().is_empty() {
                Ok(root)
            } else {
                Err(XmlError::Broken(0))
            };
        }
    }
}

/// What a reference stands for: one of the five entities or a character. Any other is no
/// reference but an ampersand that somebody forgot to escape, and stands for itself. `name` =
/// what is between `&` and `;`.
fn refer(target: &mut String, name: &str) {
    let number = name.strip_prefix('#').and_then(|digits| {
        let (digits, radix) = match digits.strip_prefix(['x', 'X']) {
            Some(hex) => (hex, 16),
            None => (digits, 10),
        };
        u32::from_str_radix(digits, radix)
            .ok()
            .and_then(char::from_u32)
    });
    match (resolve_xml_entity(name), number) {
        (Some(known), _) => target.push_str(known),
        (None, Some('\0')) => {}
        (None, Some(character)) => target.push(character),
        (None, None) => {
            target.push('&');
            target.push_str(name);
            target.push(';');
        }
    }
}

/// A text with its references resolved, as [`refer`] does it.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        match behind.split_once(';') {
            Some((name, tail)) if !name.contains('&') => {
                refer(&mut out, name);
                rest = tail;
            }
            _ => {
                out.push('&');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

fn parent(open: &mut [Element], at: u64) -> Result<&mut Element, XmlError> {
    open.last_mut().ok_or(XmlError::Broken(at))
}

fn is_html(text: &str) -> bool {
    let head: String = text
        .chars()
        .take(512)
        .collect::<String>()
        .to_ascii_lowercase();
    head.starts_with("<!doctype html") || head.contains("<html")
}

fn element(start: &BytesStart<'_>) -> Result<Element, XmlError> {
    let mut attributes = Vec::new();
    for attribute in start.attributes().with_checks(false) {
        // A broken attribute spoils itself only.
        let Ok(attribute) = attribute else { break };
        let name = attribute.key;
        if name.as_namespace_binding().is_some() {
            continue;
        }
        if attributes.len() >= MAX_ATTRIBUTES {
            return Err(XmlError::TooBig);
        }
        let value = unescaped(&attribute.value);
        attributes.push((name.local_name().as_ref().to_owned(), value));
    }
    Ok(Element {
        name: start.local_name().as_ref().to_owned(),
        attributes,
        ..Element::default()
    })
}

/// Writes elements without white space; every text and attribute is escaped, and characters
/// that XML can't carry are left out.
pub struct XmlWriter(Writer<Vec<u8>>);

impl XmlWriter {
    /// A document with its declaration.
    pub fn document(build: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut out = Self(Writer::new(Vec::new()));
        out.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        build(&mut out);
        out.0.into_inner()
    }

    /// A part of a document, for [`XmlWriter::fragment_inside`].
    pub fn fragment(build: impl FnOnce(&mut Self)) -> String {
        let mut out = Self(Writer::new(Vec::new()));
        build(&mut out);
        String::from_utf8(out.0.into_inner()).unwrap_or_default()
    }

    /// An element with what is inside.
    pub fn element(
        &mut self,
        name: &str,
        attributes: &[(&str, &str)],
        inside: impl FnOnce(&mut Self),
    ) {
        let start = start(name, attributes);
        self.event(Event::Start(start.borrow()));
        inside(self);
        self.event(Event::End(start.to_end()));
    }

    /// An element without anything inside.
    pub fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.event(Event::Empty(start(name, attributes)));
    }

    /// An element with a text inside.
    pub fn leaf(&mut self, name: &str, text: &str) {
        self.leaf_with(name, &[], text);
    }

    /// An element with attributes and a text inside.
    pub fn leaf_with(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        let text = allowed(text);
        self.element(name, attributes, |w| {
            w.event(Event::Text(BytesText::new(&text)));
        });
    }

    /// A part that was written before, as it is.
    pub fn fragment_inside(&mut self, fragment: &str) {
        self.event(Event::Text(BytesText::from_escaped(fragment)));
    }

    fn event(&mut self, event: Event<'_>) {
        // Writing to a Vec can't fail.
        let _ = self.0.write_event(event);
    }
}

fn start<'a>(name: &'a str, attributes: &[(&str, &str)]) -> BytesStart<'a> {
    let mut start = BytesStart::new(name);
    for (name, value) in attributes {
        // From a pair of texts, the value is escaped.
        start.push_attribute((*name, allowed(value).as_str()));
    }
    start
}

/// Without the characters that XML 1.0 has no way to write.
fn allowed(text: &str) -> String {
    text.chars()
        .filter(|c| {
            matches!(c, '\t' | '\n' | '\r') || (*c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_namespaces_case_and_padding_do_not_matter() {
        for text in [
            "\u{feff}\r\n<?xml version='1.0' standalone=\"yes\"?><!-- x --><tt:A xmlns:tt='u' b:C=' 1 '><ns9:bc>\n x&amp;<![CDATA[<y>]]>&#x41;\n</ns9:bc></tt:A>",
            "<a xmlns='u' c='1'><BC>x&amp;&lt;y&gt;A</BC></a>",
        ] {
            let a = parse(text.as_bytes()).unwrap();
            assert_eq!(a.attribute("c"), Some("1"), "{text}");
            assert_eq!(a.text_of("bc"), Some("x&<y>A"), "{text}");
            assert_eq!(a.attribute("xmlns"), None);
        }
    }

    #[test]
    fn bombs_are_refused() {
        let laughs = br#"<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>"#;
        assert_eq!(parse(laughs), Err(XmlError::Forbidden));
        let outside = br#"<!DOCTYPE a [ <!entity % p SYSTEM "http://192.0.2.1/x"> %p; ]><a/>"#;
        assert_eq!(parse(outside), Err(XmlError::Forbidden));
        let deep = format!("{}{}", "<a>".repeat(5000), "</a>".repeat(5000));
        assert_eq!(parse(deep.as_bytes()), Err(XmlError::TooBig));
        let wide = format!("<a>{}</a>", "<b/>".repeat(50_000));
        assert_eq!(parse(wide.as_bytes()), Err(XmlError::TooBig));
        assert_eq!(parse(&vec![b' '; MAX_DOCUMENT + 1]), Err(XmlError::TooLong));
    }

    #[test]
    fn what_is_no_document() {
        assert_eq!(parse(b" \r\n"), Err(XmlError::Empty));
        assert_eq!(parse(b"<!DOCTYPE html>\n<html>"), Err(XmlError::Html));
        assert_eq!(parse(b"<HTML><BODY>Unauthorized"), Err(XmlError::Html));
        for broken in ["<a>", "<a></b>", "x<a/>", "x", "<a", "</a>", "<a>&"] {
            assert!(
                matches!(parse(broken.as_bytes()), Err(XmlError::Broken(_))),
                "{broken}: {:?}",
                parse(broken.as_bytes())
            );
        }
    }

    /// Cameras' documents with a byte too many (docs/cameras.md); what they say is kept.
    #[test]
    fn a_byte_that_carries_nothing_costs_no_document() {
        let plain = parse(b"<a><n v='1'>x</n></a>").unwrap();
        for text in [
            "<a><n v='1'>x</n></a>\0",
            "\0\0<a><n v='1'>x</n></a>\r\n\0\0",
            "<a><n v='1'>x</n></a>ml>\u{fffd}<!--",
            "<a><n v='1'>x</n></a></a>",
            "<a><n v='1'>x</n></a><a/>",
            "<?xml version='1.0'?><!DOCTYPE a><a><n v='1'>x</n></a>",
            "<!DOCTYPE a SYSTEM \"http://192.0.2.1/a.dtd\"><a><n v='1'>x</n></a>",
            "<!DOCTYPE a [<!ELEMENT a ANY>]><a><n v='1'>x</n></a>",
        ] {
            assert_eq!(parse(text.as_bytes()).as_ref(), Ok(&plain), "{text}");
        }
    }

    #[test]
    fn an_ampersand_that_begins_no_reference_stands_for_itself() {
        for (text, read) in [
            (
                "rtsp://h/u=a_c=0&onvif=0.sdp?real",
                "rtsp://h/u=a_c=0&onvif=0.sdp?real",
            ),
            (
                "http://h/s.jpg?a=1&b=2&amp;c=3",
                "http://h/s.jpg?a=1&b=2&c=3",
            ),
            ("Gate & yard", "Gate & yard"),
            ("a&b;c", "a&b;c"),
            ("&nbsp;x", "&nbsp;x"),
            ("a && b &", "a && b &"),
            ("&#x41;&#66;&#0;&#xD800;", "AB&#xD800;"),
            ("&lt;&gt;&quot;&apos;", "<>\"'"),
        ] {
            let inside = parse(format!("<a><n>{text}</n><m>y</m></a>").as_bytes()).unwrap();
            assert_eq!(inside.text_of("n"), Some(read), "{text}");
            assert_eq!(inside.text_of("m"), Some("y"), "{text}");
            let attribute = parse(format!("<a n=\"{text}\"/>").as_bytes()).unwrap();
            assert_eq!(attribute.attribute("n"), Some(read), "{text}");
        }
    }

    #[test]
    fn a_name_in_another_encoding_is_no_reason_to_fail() {
        let a = parse(b"<a><n>\xc4\xe3\xba\xc3</n><m>ok</m></a>").unwrap();
        assert_eq!(a.text_of("m"), Some("ok"));
        assert!(a.text_of("n").is_some());
    }

    #[test]
    fn searching() {
        let a = parse(b"<a><x><p>1</p></x><y><p>2</p></y><p>3</p></a>").unwrap();
        assert_eq!(a.find("p").map(Element::text), Some("1"));
        assert_eq!(a.find_all("P").len(), 3);
        assert_eq!(a.text_at(&["y", "p"]), Some("2"));
        assert_eq!(a.text_at(&["y", "q"]), None);
    }

    #[test]
    fn numbers_and_truths() {
        assert_eq!(as_number(" 5.93397374E-07\n"), Some(5.933_973_74E-7));
        assert_eq!(as_number("+1"), Some(1.0));
        for bad in ["", "NaN", "inf", "1e999", "0,5", "x"] {
            assert_eq!(as_number(bad), None, "{bad}");
        }
        assert_eq!(as_bool("TRUE"), Some(true));
        assert_eq!(as_bool("0"), Some(false));
        assert_eq!(as_bool("maybe"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_markup_makes_no_panic(text in "[<>/a-c&;#x0-9 =\"'!\\[\\]-]{0,80}") {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn what_is_written_is_read_back(text in any::<String>(), value in any::<String>()) {
            let bytes = XmlWriter::document(|w| {
                w.element("a", &[("v", &value)], |w| {
                    w.leaf("b", &text);
                    w.leaf("c", "end");
                });
            });
            let a = parse(&bytes).unwrap();
            prop_assert_eq!(a.children.len(), 2);
            let clean = |s: &str| allowed(s).replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(&a.children[0].text, &clean(&text));
            prop_assert_eq!(a.text_of("c"), Some("end"));
        }
    }
}

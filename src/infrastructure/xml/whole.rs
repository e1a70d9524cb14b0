//! Documents that are written back as they were read, but for what is changed: with their
//! namespaces, in their order, with everything that is not known here. Cameras refuse parts.

use quick_xml::NsReader;
use quick_xml::escape::{escape, resolve_xml_entity};
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

use super::{MAX_ATTRIBUTES, MAX_DEPTH, MAX_DOCUMENT, MAX_ELEMENTS, XmlError, XmlWriter};

/// One element with all that is in it. Names are matched without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whole {
    /// Empty = none.
    namespace: String,
    name: String,
    /// Namespace, name, value.
    attributes: Vec<(String, String, String)>,
    text: String,
    children: Vec<Whole>,
}

impl Whole {
    /// Reads a document. Unlike [`super::parse`] it lets nothing pass that could not be written
    /// back as it was: bytes that are no UTF-8, prefixes that are not declared.
    pub fn parse(bytes: &[u8]) -> Result<Self, XmlError> {
        if bytes.len() > MAX_DOCUMENT {
            return Err(XmlError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| XmlError::Broken(0))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err(XmlError::Empty);
        }
        let mut reader = NsReader::from_str(text);
        let mut open = vec![Self::default()];
        let mut count = 0_usize;
        loop {
            let broken = |reader: &NsReader<&[u8]>| XmlError::Broken(reader.buffer_position());
            let (namespace, event) = reader
                .read_resolved_event()
                .map_err(|_| XmlError::Broken(0))?;
            let namespace = match namespace {
                ResolveResult::Bound(namespace) => Some(namespace.0.to_owned()),
                ResolveResult::Unbound => Some(String::new()),
                ResolveResult::Unknown(_) => None,
            };
            if matches!(event, Event::Start(_) | Event::Empty(_)) {
                count += 1;
                if open.len() > MAX_DEPTH || count > MAX_ELEMENTS {
                    return Err(XmlError::TooBig);
                }
            }
            match event {
                Event::Start(start) => {
                    let element = element(&reader, namespace, &start)?;
                    open.push(element);
                }
                Event::Empty(start) => {
                    let element = element(&reader, namespace, &start)?;
                    let parent = open.last_mut().ok_or_else(|| broken(&reader))?;
                    parent.children.push(element);
                }
                Event::End(_) => {
                    let done = open.pop().ok_or_else(|| broken(&reader))?;
                    let parent = open.last_mut().ok_or_else(|| broken(&reader))?;
                    parent.children.push(done);
                }
                Event::Text(text) => {
                    let here = open.last_mut().ok_or_else(|| broken(&reader))?;
                    here.text.push_str(&text.xml10_content());
                }
                Event::CData(text) => {
                    let here = open.last_mut().ok_or_else(|| broken(&reader))?;
                    here.text.push_str(&text.xml10_content());
                }
                Event::GeneralRef(reference) => {
                    let here = open.last_mut().ok_or_else(|| broken(&reader))?;
                    if reference.is_char_ref() {
                        let found = reference
                            .resolve_char_ref()
                            .map_err(|_| XmlError::Broken(0))?;
                        here.text.extend(found);
                    } else {
                        let known = resolve_xml_entity(&reference.xml10_content())
                            .ok_or(XmlError::Forbidden)?;
                        here.text.push_str(known);
                    }
                }
                Event::DocType(_) => return Err(XmlError::Forbidden),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        let mut document = open.pop().filter(|_| open.is_empty()).unwrap_or_default();
        match (document.children.pop(), document.children.is_empty()) {
            (Some(root), true) => Ok(root),
            _ => Err(XmlError::Broken(0)),
        }
    }

    /// As a document of its own.
    pub fn document(&self) -> Vec<u8> {
        XmlWriter::document(|w| self.write(w, ""))
    }

    /// Writes it into another document, where `around` is the namespace in force.
    pub fn write(&self, w: &mut XmlWriter, around: &str) {
        let mut names: Vec<(String, &str)> = Vec::new();
        if self.namespace != around {
            names.push(("xmlns".to_owned(), &self.namespace));
        }
        for (number, (namespace, name, value)) in self.attributes.iter().enumerate() {
            if namespace.is_empty() {
                names.push((name.clone(), value));
            } else {
                names.push((format!("xmlns:a{number}"), namespace));
                names.push((format!("a{number}:{name}"), value));
            }
        }
        let attributes: Vec<(&str, &str)> =
            names.iter().map(|(name, v)| (name.as_str(), *v)).collect();
        w.element(&self.name, &attributes, |w| {
            let padding = !self.children.is_empty() && self.text.trim().is_empty();
            if !padding && !self.text.is_empty() {
                w.fragment_inside(&escape(self.text.as_str()));
            }
            for child in &self.children {
                child.write(w, &self.namespace);
            }
        });
    }

    /// Its namespace; empty = none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The same under another name and namespace; what is inside keeps its own.
    #[must_use]
    pub fn renamed(mut self, namespace: &str, name: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        name.clone_into(&mut self.name);
        self
    }

    /// An attribute without a namespace.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self
            .attributes
            .iter()
            .find(|(_, n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, _, value)| value.trim())
    }

    /// Sets an attribute that is there; whether it was.
    pub fn set_attribute(&mut self, name: &str, value: &str) -> bool {
        let found = self
            .attributes
            .iter_mut()
            .find(|(_, n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, _, old)| value.clone_into(old)).is_some()
    }

    /// Adds an attribute without a namespace, or sets the one that is there.
    pub fn put_attribute(&mut self, name: &str, value: &str) {
        if !self.set_attribute(name, value) {
            self.attributes
                .push((String::new(), name.to_owned(), value.to_owned()));
        }
    }

    /// Its own text, trimmed.
    pub fn text(&self) -> &str {
        self.text.trim()
    }

    /// Down a path of first children.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |here, name| {
            here.children
                .iter()
                .find(|c| c.name.eq_ignore_ascii_case(name))
        })
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Self> {
        path.iter().try_fold(self, |here, name| {
            here.children
                .iter_mut()
                .find(|c| c.name.eq_ignore_ascii_case(name))
        })
    }

    /// Sets the text down a path where there is such an element; whether there was.
    pub fn set(&mut self, path: &[&str], text: &str) -> bool {
        self.at_mut(path)
            .map(|found| text.clone_into(&mut found.text))
            .is_some()
    }

    /// Sets the text of a child. One that is missing is added behind the last of `behind` that
    /// there is: schemas want their order.
    pub fn put(&mut self, name: &str, text: &str, behind: &[&str]) {
        if self.set(&[name], text) {
            return;
        }
        let child = Self {
            // In the manner of what it stands beside.
            namespace: self
                .children
                .first()
                .map_or_else(|| self.namespace.clone(), |c| c.namespace.clone()),
            name: name.to_owned(),
            text: text.to_owned(),
            ..Self::default()
        };
        self.insert(child, behind);
    }

    /// Adds a child behind the last of `behind` that there is, else at the end.
    pub fn insert(&mut self, child: Self, behind: &[&str]) {
        let at = self
            .children
            .iter()
            .rposition(|c| behind.iter().any(|b| c.name.eq_ignore_ascii_case(b)));
        let at = at.map_or(self.children.len(), |at| at + 1);
        self.children.insert(at, child);
    }

    /// An element without attributes.
    pub fn new(namespace: &str, name: &str, children: Vec<Self>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            children,
            ..Self::default()
        }
    }

    /// Every element of a name below this one; not those inside a hit.
    pub fn find_all<'a>(&'a self, name: &str) -> Vec<&'a Self> {
        let mut hits = Vec::new();
        let mut left: Vec<&Self> = self.children.iter().rev().collect();
        while let Some(next) = left.pop() {
            if next.name.eq_ignore_ascii_case(name) {
                hits.push(next);
            } else {
                left.extend(next.children.iter().rev());
            }
        }
        hits
    }
}

fn element(
    reader: &NsReader<&[u8]>,
    namespace: Option<String>,
    start: &BytesStart<'_>,
) -> Result<Whole, XmlError> {
    let here = || XmlError::Broken(reader.buffer_position());
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| here())?;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        if attributes.len() >= MAX_ATTRIBUTES {
            return Err(XmlError::TooBig);
        }
        let namespace = match reader.resolver().resolve_attribute(attribute.key).0 {
            ResolveResult::Bound(namespace) => namespace.0.to_owned(),
            ResolveResult::Unbound => String::new(),
            ResolveResult::Unknown(_) => return Err(here()),
        };
        let value = quick_xml::escape::unescape(&attribute.value)
            .map_err(|_| XmlError::Forbidden)?
            .into_owned();
        let name = attribute.key.local_name().as_ref().to_owned();
        attributes.push((namespace, name, value));
    }
    Ok(Whole {
        namespace: namespace.ok_or_else(here)?,
        name: start.local_name().as_ref().to_owned(),
        attributes,
        ..Whole::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_known_here_is_kept() {
        let text = "<?xml version='1.0'?>\n<S version='2.0' xmlns='u'>\n <id>1</id>\n <V><q:x xmlns:q='w' q:b='1' c='&amp;'>a &lt; b</q:x><G>50</G></V><E/>\n</S>";
        let mut whole = Whole::parse(text.as_bytes()).unwrap();
        assert!(whole.set(&["v", "g"], "25"));
        assert!(!whole.set(&["v", "h"], "25"));
        let v = whole.at_mut(&["V"]).unwrap();
        v.put("H", "Main", &["x", "G"]);
        v.put("F", "1", &["x"]);
        let written = String::from_utf8(whole.document()).unwrap();
        assert_eq!(
            written,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><S xmlns=\"u\" version=\"2.0\"><id>1</id><V><x xmlns=\"w\" xmlns:a0=\"w\" a0:b=\"1\" c=\"&amp;\">a &lt; b</x><F xmlns=\"w\">1</F><G>25</G><H xmlns=\"w\">Main</H></V><E></E></S>"
        );
        let again = Whole::parse(written.as_bytes()).unwrap();
        assert_eq!(again.document(), written.as_bytes());
    }

    #[test]
    fn what_could_not_be_written_back_is_refused() {
        for bad in [
            "<a:b/>",
            "<a c:d='1'/>",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
            "<a>&b;</a>",
            "<a/><b/>",
            "<a>",
            "",
        ] {
            assert!(Whole::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Whole::parse(b"<a>\xff</a>").is_err());
    }

    proptest! {
        #[test]
        fn any_markup_makes_no_panic_and_is_stable(text in "[<>/a-c&;#x0-9 =\"':\\[\\]-]{0,80}") {
            if let Ok(whole) = Whole::parse(text.as_bytes()) {
                let written = whole.document();
                let again = Whole::parse(&written).unwrap();
                prop_assert_eq!(again.document(), written);
            }
        }
    }
}

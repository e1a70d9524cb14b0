//! Vendors and models by the scopes that real cameras sent (tests/fixtures/cameras/SOURCES.md).

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lss::domain::discovery::Certainty;
    use lss::infrastructure::discovery::fingerprint::{Signs, guess, model};
    use lss::infrastructure::onvif::answer::device::Scopes;
    use lss::infrastructure::onvif::discovery;
    use lss::infrastructure::xml;

    fn fixture(name: &str) -> Vec<u8> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cameras");
        std::fs::read(dir.join(name)).unwrap()
    }

    fn judged(scopes: &Scopes) -> (Option<(String, Certainty)>, Option<String>) {
        let signs = Signs {
            scopes_name: scopes.value("name").map(str::to_owned),
            scopes_hardware: scopes.value("hardware").map(str::to_owned),
            mac: scopes.value("mac").map(str::to_owned),
            ..Signs::default()
        };
        let vendor = guess(&signs).map(|g| (g.vendor, g.certainty));
        (vendor, model(&signs))
    }

    #[test]
    fn captured_scopes() {
        for (file, vendor, camera) in [
            (
                "onvif-nvt/hikvision-fixed/core/GetScopes.Response.xml",
                Some(("HIKVISION", Certainty::Said)),
                Some("DS-2CD2012-I"),
            ),
            // A Hikvision board sold under another name, which the scopes leave out.
            (
                "onvif-nvt/trendnet/core/GetScopes.Response.xml",
                Some(("TRENDNET", Certainty::Likely)),
                Some("TV-IP320PI"),
            ),
            ("agsh-onvif/GetScopes.xml", None, Some("HD_PREDATOR")),
            // Milesight says nothing of itself.
            ("ex-onvif/get_scopes.xml", None, None),
        ] {
            let root = xml::parse(&fixture(file)).unwrap();
            let (guessed, model) = judged(&Scopes::read(&root));
            let wanted = vendor.map(|(v, c)| (v.to_owned(), c));
            assert_eq!(guessed, wanted, "{file}");
            assert_eq!(model.as_deref(), camera, "{file}");
        }
    }

    #[test]
    fn a_captured_answer_to_a_probe() {
        let answer = discovery::read(&fixture("agsh-onvif/Probe.xml")).unwrap();
        let (vendor, model) = judged(&answer.matches[0].scopes);
        assert_eq!((vendor, model.as_deref()), (None, Some("HD_PREDATOR")));
    }
}

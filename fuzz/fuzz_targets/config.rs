//! Any bytes as a configuration: no panic, no hang; what is taken can be shown and shows no secret.
#![no_main]

use lss::config::{Input, parse, to_yaml};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for standalone in [false, true] {
        let mut input = Input::new("fuzz.yaml", data);
        input.standalone = standalone;
        match parse(&input) {
            Ok(parsed) => {
                let shown = to_yaml(&parsed.config);
                let secrets = [&parsed.config.server.api_token, &parsed.config.rcs.token];
                for secret in secrets.into_iter().flatten() {
                    // A shorter one may be part of a key's name.
                    if secret.expose().len() > 32 {
                        assert!(!shown.contains(secret.expose()));
                    }
                }
            }
            Err(faults) => assert!(!faults.is_empty()),
        }
    }
});

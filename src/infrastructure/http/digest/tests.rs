use super::*;
use proptest::prelude::*;

fn challenges(headers: &[&str]) -> Vec<Challenge> {
    parse_challenges(headers.iter().map(|h| h.as_bytes()))
}

fn digest(header: &str) -> DigestChallenge {
    match challenges(&[header]).as_slice() {
        [Challenge::Digest(d)] => d.clone(),
        other => panic!("{other:?}"),
    }
}

fn field(authorization: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8(authorization.to_vec()).unwrap();
    let raw = split_challenges(text.as_bytes());
    assert_eq!(raw.len(), 1, "{text}");
    raw[0]
        .param(name)
        .map(|v| String::from_utf8(v.to_vec()).unwrap())
}

#[test]
fn rfc_2617_with_and_without_qop() {
    let header = r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
    let mut session = Session::new(digest(header));
    let answer = session.authorization(
        "Mufasa",
        "Circle Of Life",
        "GET",
        "/dir/index.html",
        "0a4f113b",
    );
    assert_eq!(
        String::from_utf8(answer).unwrap(),
        r#"Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", response="6629fae49393a05397450978507c4ef1", qop=auth, nc=00000001, cnonce="0a4f113b", opaque="5ccc069c403ebaf9f0171e9517f40e41""#
    );
    let mut session = Session::new(digest(
        r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093""#,
    ));
    let answer = session.authorization("Mufasa", "Circle Of Life", "GET", "/dir/index.html", "x");
    assert_eq!(
        field(&answer, "response").as_deref(),
        Some("670fd8c2df070c60b045671b8b24ff02")
    );
    for absent in ["qop", "nc", "cnonce", "opaque", "algorithm"] {
        assert_eq!(field(&answer, absent), None, "{absent}");
    }
}

#[test]
fn rfc_7616_md5_and_sha_256() {
    let params = r#"realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
    let found = challenges(&[
        &format!("Digest {params}, algorithm=MD5"),
        &format!("Digest {params}, algorithm=SHA-256"),
    ]);
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    for (at, expected) in [
        (0, "8ca523f5e9506fed4657c9700eebdbec"),
        (
            1,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ] {
        let Challenge::Digest(challenge) = &found[at] else {
            panic!("{found:?}")
        };
        let answer = Session::new(challenge.clone()).authorization(
            "Mufasa",
            "Circle of Life",
            "GET",
            "/dir/index.html",
            cnonce,
        );
        assert_eq!(field(&answer, "response").as_deref(), Some(expected));
    }
    assert_eq!(strongest(&found), Some(&found[1]));
}

/// The vectors of a camera, made with an independent implementation.
#[test]
fn a_camera_s_vectors() {
    let put = "/ISAPI/PTZCtrl/channels/1/continuous";
    let run = |header: &str, count: u32| {
        let mut session = Session::new(digest(header));
        let mut last = Vec::new();
        for _ in 0..count {
            last = session.authorization("admin", "12345", "PUT", put, "0a4f113b");
        }
        (
            field(&last, "response").unwrap(),
            field(&last, "nc"),
            session.used(),
        )
    };
    let plain = r#"Digest realm="IP Camera(F1598)", nonce="4e44673159", stale="FALSE""#;
    assert_eq!(
        run(plain, 1),
        ("49bd6f4fd0008731bec1d7e4803e67fb".to_owned(), None, 1)
    );
    let qop = r#"Digest qop="auth", realm="IP Camera(F1598)", nonce="4e44673159", stale="FALSE""#;
    assert_eq!(
        run(qop, 2),
        (
            "0a3ad106d72a03b8d83830d271671b15".to_owned(),
            Some("00000002".to_owned()),
            2
        )
    );
    let sha =
        r#"Digest qop="auth", realm="IP Camera(F1598)", nonce="4e44673159", algorithm=SHA-256"#;
    assert_eq!(
        run(sha, 2).0,
        "018609332970c274a095955133dc0a29f9386a6ed4166851a16aa8b158d8bfc4"
    );
}

/// Expected values from Python's hashlib.
#[test]
fn session_keys() {
    for (algorithm, first, second) in [
        ("MD5-sess", SESS_MD5.0, SESS_MD5.1),
        ("SHA-256-sess", SESS_SHA.0, SESS_SHA.1),
    ] {
        let header = format!(r#"Digest realm="r", nonce="n", qop="auth", algorithm={algorithm}"#);
        let mut session = Session::new(digest(&header));
        let one = session.authorization("u", "p", "GET", "/x?y=z", "c1");
        let two = session.authorization("u", "p", "PUT", "/x?y=z", "c2");
        assert_eq!(field(&one, "response").as_deref(), Some(first));
        assert_eq!(field(&two, "response").as_deref(), Some(second));
        assert_eq!(field(&two, "cnonce").as_deref(), Some("c1"), "kept");
        assert_eq!(field(&two, "algorithm").as_deref(), Some(algorithm));
    }
}

const SESS_MD5: (&str, &str) = (
    "0a889e6f70203bb4e501912067da5ad8",
    "82c59efc57337a371acf9ab0f34d77ad",
);
const SESS_SHA: (&str, &str) = (
    "c96971e2f411e92cd5d8cc71e7f2c8f1bc7dcfb5e55b429d4f0a1fff12e04477",
    "94352158cb981702c025e732be959f28409ba8d1f13cb03f5b1ca94db7615f86",
);

#[test]
fn challenges_of_real_cameras() {
    let c = digest(
        r#"Digest qop="auth", realm="IP Camera(F1598)", nonce="4e446731597a3d3d", stale="FALSE""#,
    );
    assert!(c.qop_auth && !c.stale && !c.algorithm_named);
    assert_eq!(c.realm, b"IP Camera(F1598)");
    let c = digest(
        r#"Digest realm="fe12", domain="::", qop="auth", nonce="300b:1685", opaque="", algorithm="MD5", stale="TRUE""#,
    );
    assert_eq!(c.opaque.as_deref(), Some(&b""[..]));
    assert!(c.stale && c.algorithm_named);
    let c = digest(r#"digest ALGORITHM=sha256,Realm = "a\"b\\, c" , NONCE=abc,qop=auth"#);
    assert_eq!(c.algorithm, Algorithm::Sha256);
    assert_eq!(c.realm, br#"a"b\, c"#);
    assert_eq!(c.nonce, b"abc");
}

#[test]
fn several_challenges_in_one_header_or_many() {
    let found = challenges(&[
        r#"Basic realm="IP Camera(F1598), x", Digest realm="a", nonce="1", Negotiate YII==, Digest realm="b", nonce="2", algorithm=SHA-256-sess, qop="auth""#,
        r#"Digest realm="c", nonce="3", algorithm=SHA-256"#,
        r#"Digest realm="d", nonce="4", algorithm=SHA-512-256"#,
        r#"Digest realm="e", nonce="5", qop="auth-int""#,
        r#"Digest realm="no nonce""#,
    ]);
    assert_eq!(found.len(), 4, "{found:?}");
    let Some(Challenge::Digest(best)) = strongest(&found) else {
        panic!()
    };
    assert_eq!(best.realm, b"b");
    assert_eq!(strongest(&[Challenge::Basic]), Some(&Challenge::Basic));
    assert_eq!(strongest(&[]), None);
    let twice = challenges(&[
        r#"Digest realm="first", nonce="1""#,
        r#"Digest realm="second", nonce="2""#,
    ]);
    assert_eq!(strongest(&twice), Some(&twice[0]), "the server's order");
}

/// As cameras write them (docs/cameras.md). All of these mean one thing.
#[test]
fn challenges_as_they_come() {
    for header in [
        r#"Digest realm="r", qop=auth,auth-int, nonce="n", stale="FALSE""#,
        r#"Digest realm="r", nonce="n", qop=auth,auth-int"#,
        r#"Digest realm="r", nonce="n", qop=auth-int, auth"#,
        r#"Digest realm="r", nonce="n", qop="auth auth-int""#,
        r#"Digest realm="r"; nonce="n"; qop="auth;auth-int""#,
        r"Digest realm='r', nonce='n', qop='auth'",
        r"Digest realm=r;nonce=n;qop=auth",
        r#"DIGEST REALM="r",NONCE="n",QOP="AUTH",STALE=FALSE"#,
        r#"Digest realm="r", nonce="n", algorithm=, qop="auth""#,
    ] {
        let c = digest(header);
        assert_eq!(
            (c.realm.as_slice(), c.nonce.as_slice()),
            (&b"r"[..], &b"n"[..])
        );
        assert_eq!(c.algorithm, Algorithm::Md5, "{header}");
        assert!(c.qop_auth && !c.algorithm_named && !c.stale, "{header}");
    }
    for (algorithm, taken) in [
        (r#""MD5,SHA-256""#, Algorithm::Md5),
        ("MD5,SHA-256", Algorithm::Md5),
        ("MD5/SHA256", Algorithm::Md5),
        (r#""SHA-256, MD5""#, Algorithm::Sha256),
        ("'MD5-sess; SHA-256'", Algorithm::Md5Sess),
        (r#""SHA-512-256,SHA-256""#, Algorithm::Sha256),
        ("SHA-512-256,SHA-256", Algorithm::Sha256),
    ] {
        let c = digest(&format!(
            r#"Digest realm="r", nonce="n", algorithm={algorithm}, qop="auth""#
        ));
        assert_eq!(c.algorithm, taken, "{algorithm}");
        assert!(c.qop_auth && c.algorithm_named, "{algorithm}");
    }
    // A scheme behind a list without quotes is a scheme all the same.
    let found = challenges(&[r#"Digest realm="r", nonce="n", qop=auth, Basic realm="r""#]);
    assert_eq!(found.len(), 2, "{found:?}");
    // An apostrophe that is not closed is one.
    assert_eq!(digest("Digest realm='r, nonce=n").realm, b"'r");
    for none in [
        r#"Digest realm="r", nonce="n", qop=auth-int"#,
        r#"Digest realm="r", nonce="n", algorithm="SHA-512-256""#,
    ] {
        assert_eq!(challenges(&[none]), [], "{none}");
    }
}

#[test]
fn names_are_quoted_and_can_end_no_header() {
    let mut session = Session::new(digest(r#"Digest realm="r", nonce="n""#));
    let answer = session.authorization("a\"b\\c\r\nX: y", "p", "GET", "/", "c");
    let text = String::from_utf8(answer).unwrap();
    assert!(
        text.starts_with(r#"Digest username="a\"b\\cX: y", "#),
        "{text}"
    );
    assert!(!text.contains(['\r', '\n']));
    assert_eq!(
        basic_authorization("Aladdin", "open sesame"),
        b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(header in proptest::collection::vec(any::<u8>(), 0..400)) {
        for challenge in parse_challenges([header.as_slice()]) {
            if let Challenge::Digest(d) = challenge {
                let value = Session::new(d).authorization("u", "p", "GET", "/", "c");
                prop_assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n')));
            }
        }
    }

    #[test]
    fn what_is_quoted_is_read_back(realm in "[ -~é]{0,40}", nonce in "[!-~]{1,40}") {
        let mut header = b"Digest realm=".to_vec();
        quote(&mut header, realm.as_bytes());
        header.extend_from_slice(b", nonce=");
        quote(&mut header, nonce.as_bytes());
        let found = parse_challenges([header.as_slice()]);
        let [Challenge::Digest(d)] = found.as_slice() else { panic!("{found:?}") };
        prop_assert_eq!(&d.realm, realm.as_bytes());
        prop_assert_eq!(&d.nonce, nonce.as_bytes());
    }
}

//! Answers read into values. Pure. What a camera leaves out stays `None`; what it writes in a
//! broken way spoils that value only.

pub mod device;
pub mod imaging;
pub mod media;
pub mod ptz;

/// A captured answer.
#[cfg(test)]
pub(super) fn fixture(path: &str) -> Vec<u8> {
    let root = env!("CARGO_MANIFEST_DIR");
    std::fs::read(format!("{root}/tests/fixtures/cameras/{path}")).unwrap()
}

/// The content of a captured answer.
#[cfg(test)]
pub(super) fn content(path: &str) -> crate::infrastructure::xml::Element {
    match super::reply::read(&fixture(path)).unwrap() {
        super::reply::Reply::Content(content) => content,
        super::reply::Reply::Fault(fault) => panic!("{path}: {fault:?}"),
    }
}

//! Media types of what archives consist of.

/// Text in UTF-8.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// A document.
pub(super) const JSON: &str = "application/json";
/// Bytes.
pub(super) const OCTETS: &str = "application/octet-stream";

/// The media type of a file of an archive, by its name.
pub(super) fn media(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.') {
        Some((_, "deb" | "udeb")) => "application/vnd.debian.binary-package",
        Some((_, "dsc" | "asc" | "sources" | "buildinfo" | "changes")) => TEXT,
        Some((_, "json")) => JSON,
        None if matches!(name, "InRelease" | "Release" | "Packages" | "Sources") => TEXT,
        _ => OCTETS,
    }
}

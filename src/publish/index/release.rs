//! `Release`: what a suite is, and the digest of each of its indexes (Debian repository format,
//! "Release files").

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::base::Sha256;
use crate::publish::generation::Published;
use crate::spec::release::Suite;

/// What a Release file says.
pub struct Release<'a> {
    /// The suite's name.
    pub name: &'a str,
    /// What release.toml says of the suite.
    pub suite: &'a Suite,
    /// When it was made.
    pub date: Timestamp,
    /// Until when it is to be believed.
    pub valid_until: Option<Timestamp>,
    /// Its architectures.
    pub architectures: &'a [String],
    /// Its components.
    pub components: &'a [String],
    /// The release that was published to it last.
    pub published: Option<&'a Published>,
    /// Path below the suite, size and digest of each file.
    pub files: &'a [(String, u64, Sha256)],
}

impl Release<'_> {
    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut field = |name: &str, value: &str| {
            let _ = writeln!(text, "{name}: {value}");
        };
        let suite = self.suite;
        if let Some(origin) = &suite.origin {
            field("Origin", origin);
        }
        if let Some(label) = &suite.label {
            field("Label", label);
        }
        field("Suite", self.name);
        field("Codename", suite.codename.as_deref().unwrap_or(self.name));
        if let Some(published) = self.published {
            field("Version", &published.version);
        }
        field("Date", &moment(self.date));
        if let Some(end) = self.valid_until {
            field("Valid-Until", &moment(end));
        }
        field("Acquire-By-Hash", "yes");
        // Packages of architecture `all` are in the index of each.
        field("Architectures", &self.architectures.join(" "));
        field("Components", &self.components.join(" "));
        if let Some(description) = &suite.description {
            field("Description", description);
        }
        if let Some(published) = self.published {
            field("Perestroika-Release", &published.id.to_string());
            if let Some(manifest) = &published.manifest {
                field("Perestroika-Manifest", &manifest.to_string());
            }
        }
        text.push_str("SHA256:\n");
        for (path, size, sha256) in self.files {
            let _ = writeln!(text, " {sha256} {size:>16} {path}");
        }
        text
    }
}

/// As a Release file writes it: RFC 5322, in UTC.
fn moment(at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    strtime::format("%a, %d %b %Y %H:%M:%S UTC", &at).expect("a moment in UTC has all of these")
}

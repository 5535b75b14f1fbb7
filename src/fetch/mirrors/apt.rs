//! The mirrors that the host's own apt is configured with (sources.list(5), both styles).

use std::fs;
use std::io;

use super::Url;
use crate::archive::deb::control::commented_paragraphs;
use crate::base::HostPath;
use crate::fetch::error::{Error, Result};

/// The mirrors in `sources.list` and `sources.list.d/` of apt's configuration folder, in apt's
/// order, each once. Entries that apt itself would not take, and ways of fetching that we do not
/// know (`cdrom:`, `mirror+file:`), are passed over.
pub(super) fn sources(apt: &HostPath) -> Result<Vec<Url>> {
    let mut texts = Vec::new();
    let parts = apt.join("sources.list.d");
    let mut names = match fs::read_dir(&parts) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|error| unreadable(&parts, &error))?,
        Err(error) if is_nothing(&error) => Vec::new(),
        Err(error) => return Err(unreadable(&parts, &error)),
    };
    names.sort();
    texts.extend(read(&apt.join("sources.list"))?.map(|text| one_line(&text)));
    for name in names.iter().filter_map(|name| name.to_str()) {
        let style = match name.rsplit_once('.') {
            Some((_, "list")) => one_line,
            Some((_, "sources")) => deb822,
            _ => continue,
        };
        texts.extend(read(&parts.join(name))?.map(|text| style(&text)));
    }
    let mut found = Vec::new();
    for url in texts.into_iter().flatten().filter_map(|text| text.parse::<Url>().ok()) {
        if !found.contains(&url) {
            found.push(url);
        }
    }
    Ok(found)
}

fn read(path: &HostPath) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_nothing(&error) => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Files that other users may not read usually hold passwords; they are not ours to use.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

fn unreadable(path: &HostPath, error: &io::Error) -> Error {
    Error::Configuration { path: path.to_string(), what: format!("cannot be read: {error}") }
}

/// `deb [ options ] uri suite component…`
fn one_line(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let uri = |line: &str| {
        let (kind, rest) = line.trim_start().split_once(char::is_whitespace)?;
        let rest = match rest.trim_start().strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let uri = rest.split_whitespace().next()?;
        matches!(kind, "deb" | "deb-src").then(|| uri.to_owned())
    };
    lines.filter_map(uri).collect()
}

/// Paragraphs with `Types`, `URIs`, `Suites`, and perhaps `Enabled: no`.
fn deb822(text: &str) -> Vec<String> {
    let mut uris = Vec::new();
    for paragraph in commented_paragraphs(text).map_while(Result::ok) {
        let enabled = paragraph.get("Enabled").unwrap_or("yes").to_ascii_lowercase();
        if matches!(&*enabled, "no" | "false" | "without" | "off" | "disable") {
            continue;
        }
        let listed = paragraph.get("URIs").unwrap_or_default();
        uris.extend(listed.split_whitespace().map(str::to_owned));
    }
    uris
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mirrors_in_both_styles_of_apts_sources() {
        let folder = tempfile::tempdir().unwrap();
        let apt = HostPath::new(folder.path());
        assert_eq!(sources(&apt).unwrap(), []);
        fs::create_dir(apt.join("sources.list.d")).unwrap();
        let write = |name: &str, text: &str| fs::write(apt.join(name), text).unwrap();
        write(
            "sources.list",
            "# deb http://commented.example/ x main\n\
             deb http://one.example/debian/ bookworm main # contrib\n\
             \tdeb-src [ arch=amd64 signed-by=/x.gpg ] http://two.example/debian bookworm main\n\
             deb cdrom:[Debian 12]/ bookworm main\ndeb\nrpm http://no.example/ x\n\
             deb http://one.example/debian bookworm-updates main\n",
        );
        write(
            "sources.list.d/b.sources",
            "Types: deb\n# a comment\nURIs: http://three.example/debian\n  file:/srv/mirror\n\
             Suites: bookworm\n\nTypes: deb\nEnabled: no\nURIs: http://off.example/\nSuites: x\n\n\
             Types: deb\nURIs: mirror+file:/etc/mirrors\nSuites: x\n",
        );
        write("sources.list.d/a.list", "deb https://four.example/debian stable main\n");
        write("sources.list.d/c.list.save", "deb http://saved.example/ x main\n");
        let found: Vec<String> = sources(&apt).unwrap().iter().map(Url::to_string).collect();
        assert_eq!(
            found,
            [
                "http://one.example/debian",
                "http://two.example/debian",
                "https://four.example/debian",
                "http://three.example/debian",
                "file:///srv/mirror",
            ]
        );
    }
}

//! A commit and the commits of its submodules.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use super::program::{Depth, Program};
use super::tree::{self, Budget, Gitlink};
use super::{Named, Revision, is_commit};
use crate::base::TreeEntry;
use crate::fetch::client::Client;
use crate::fetch::error::{Error, Result};
use crate::store::{Batch, Store};

/// How deep submodules may lie in submodules.
const MAX_DEPTH: usize = 8;

/// What a walk through submodules needs everywhere.
pub(super) struct Walk<'a> {
    pub store: &'a Store,
    pub client: &'a Client,
    pub batch: &'a Batch<'a>,
    pub cancel: &'a AtomicBool,
}

/// Where a repository is among its parents.
pub(super) struct Place<'a> {
    /// What its paths begin with: nothing, or a path and `/`.
    pub prefix: &'a str,
    /// How many parents it has.
    pub depth: usize,
}

/// A commit whose files were collected.
pub(super) struct Collected {
    /// Its name.
    pub commit: String,
    /// What kind of name led there.
    pub named: Named,
    /// When it was committed, in seconds since 1970.
    pub date: i64,
}

impl Walk<'_> {
    /// Puts the files of a revision and of its submodules into `entries`.
    pub fn collect(
        &self,
        revision: &Revision<'_>,
        place: &Place<'_>,
        budget: &mut Budget,
        entries: &mut Vec<TreeEntry>,
    ) -> Result<Collected> {
        let Revision { url, rev, commit } = *revision;
        let program = Program::new(self.store, self.client, url, self.cancel)?;
        let (commit, named) = program.fetch(rev, commit, Depth::One)?;
        let date = date(&program, &commit)?;
        let links = tree::collect(&program, &commit, place.prefix, self.batch, budget, entries)?;
        if links.is_empty() {
            return Ok(Collected { commit, named, date });
        }
        let urls = urls(&program, &commit)?;
        for Gitlink { path, commit: link } in links {
            let wrong = |why: String| program.error(format!("submodule `{path}`"), why);
            let inner = path.strip_prefix(place.prefix).unwrap_or(&path);
            let named = urls.get(inner).ok_or_else(|| {
                wrong("`.gitmodules` does not say where it comes from".to_owned())
            })?;
            let url = resolved(url, named).map_err(&wrong)?;
            if place.depth == MAX_DEPTH || budget.modules == 0 {
                return Err(wrong("there are too many of them, or too deep".to_owned()));
            }
            if !is_commit(&link) {
                return Err(wrong("is pinned to no commit".to_owned()));
            }
            budget.modules -= 1;
            let revision = Revision { url: &url, rev: &link, commit: Some(&link) };
            let prefix = format!("{path}/");
            let place = Place { prefix: &prefix, depth: place.depth + 1 };
            self.collect(&revision, &place, budget, entries)?;
        }
        Ok(Collected { commit, named, date })
    }
}

fn date(program: &Program<'_>, commit: &str) -> Result<i64> {
    let answer = program.run(&["show", "-s", "--format=%ct", commit], None)?;
    let text = String::from_utf8_lossy(&answer);
    text.trim().parse().map_err(|_| program.error(format!("commit {commit}"), "has no date".into()))
}

/// The URL of each submodule by its path, from `.gitmodules` (gitmodules(5)).
fn urls(program: &Program<'_>, commit: &str) -> Result<BTreeMap<String, String>> {
    let blob = format!("--blob={commit}:.gitmodules");
    let keys = r"^submodule\..*\.(path|url)$";
    let answer = match program.run(&["config", &blob, "-z", "--get-regexp", keys], None) {
        // So it ends where there is no such file, or nothing in it.
        Err(Error::Git { .. }) => Vec::new(),
        answer => answer?,
    };
    let mut paths: BTreeMap<String, String> = BTreeMap::new();
    let mut urls: BTreeMap<String, String> = BTreeMap::new();
    for entry in String::from_utf8_lossy(&answer).split('\0') {
        let Some((key, value)) = entry.split_once('\n') else { continue };
        let Some(key) = key.strip_prefix("submodule.") else { continue };
        match key.rsplit_once('.') {
            Some((name, "path")) => paths.insert(name.to_owned(), value.to_owned()),
            Some((name, "url")) => urls.insert(name.to_owned(), value.to_owned()),
            _ => None,
        };
    }
    let by_path = paths.into_iter().filter_map(|(name, path)| Some((path, urls.remove(&name)?)));
    Ok(by_path.collect())
}

/// The URL of a submodule, as `.gitmodules` of the repository at `parent` says it.
fn resolved(parent: &str, named: &str) -> Result<String, String> {
    let scheme = |url: &str| url.split_once("://").map(|(scheme, _)| scheme.to_owned());
    let refused = |why: &str| Err(format!("`{named}` {why}"));
    if !named.bytes().all(|byte| byte.is_ascii_graphic()) || named.len() > 2000 {
        return refused("is no URL");
    }
    if named.starts_with("./") || named.starts_with("../") {
        let mut base = parent.trim_end_matches('/').to_owned();
        let least = parent.find("://").map_or(0, |at| at + 3);
        let mut rest = named;
        loop {
            if let Some(below) = rest.strip_prefix("./") {
                rest = below;
            } else if let Some(above) = rest.strip_prefix("../") {
                rest = above;
                let cut = base.rfind('/').filter(|cut| *cut > least);
                match cut {
                    Some(cut) => base.truncate(cut),
                    None => return refused("leads above its host"),
                }
            } else {
                return Ok(format!("{base}/{rest}"));
            }
        }
    }
    let (to, from) = (scheme(named), scheme(parent));
    match to.as_deref() {
        Some("https" | "http" | "git" | "ssh") => {}
        // A repository elsewhere has no say in what is read of this machine.
        Some("file") if from.as_deref() == Some("file") => {}
        _ => return refused("cannot be followed: it is neither relative nor of a known protocol"),
    }
    let host = named.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    if host.is_some_and(|host| host.starts_with('-')) {
        return refused("names no host");
    }
    Ok(named.to_owned())
}

#[cfg(test)]
mod tests {
    use super::resolved;

    #[test]
    fn submodules_come_from_where_their_parent_may_send_us() {
        let good = [
            ("https://h/a/b", "../c", "https://h/a/c"),
            ("https://h/a/b/", "./c", "https://h/a/b/c"),
            ("https://h/a/b", "../../x/c.git", "https://h/x/c.git"),
            ("https://h/a", "git://other/c", "git://other/c"),
            ("file:///srv/a", "file:///srv/b", "file:///srv/b"),
            ("file:///srv/a", "../b", "file:///srv/b"),
        ];
        for (parent, named, url) in good {
            assert_eq!(resolved(parent, named), Ok(url.to_owned()), "{parent} {named}");
        }
        for (parent, named) in [
            ("https://h/a", "file:///etc"),
            ("https://h/a", "/etc"),
            ("https://h/a", "ext::sh -c id"),
            ("https://h/a", "git@h:x"),
            ("https://h/a", "--upload-pack=id"),
            ("https://h/a", "ssh://-oProxyCommand=id/x"),
            ("https://h/a", "../../../x"),
        ] {
            assert!(resolved(parent, named).is_err(), "{parent} {named}");
        }
    }
}

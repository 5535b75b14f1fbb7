//! What a repository calls its commits.

use std::sync::atomic::AtomicBool;

use super::is_commit;
use super::program::Program;
use crate::base::nearest;
use crate::fetch::client::{Client, Network};
use crate::fetch::error::{Error, Result};
use crate::store::Store;

/// The branches and tags of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The branch that everybody gets who names none.
    pub default: Option<String>,
    /// All branches, sorted.
    pub branches: Vec<String>,
    /// All tags, sorted.
    pub tags: Vec<String>,
}

/// What kind of name leads to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A tag, which is not meant to move.
    Tag,
    /// A branch, or another name that is meant to move.
    Branch,
    /// The commit's own name.
    Commit,
}

/// The names that `url` has now.
///
/// # Errors
/// [`Error::Unfit`] where there is no repository, or nothing in it.
pub fn names(store: &Store, client: &Client, url: &str, cancel: &AtomicBool) -> Result<Names> {
    if client.network() == Network::Offline {
        return Err(Error::Offline(url.to_owned()));
    }
    let program = Program::new(store, client, url, cancel)?;
    let names = Listing::ask(&program)?.names();
    if names.branches.is_empty() && names.tags.is_empty() {
        return Err(program.error("it is empty".to_owned(), "no branch, no tag".to_owned()));
    }
    Ok(names)
}

impl Names {
    /// The tag of the newest release of what is called `project`: the highest number among the
    /// tags that are a number alone, or after `v`, `release-`, the project's name and the like.
    /// Candidates are no releases.
    pub fn newest_release(&self, project: &str) -> Option<&str> {
        let numbered = self.tags.iter().filter_map(|tag| Some((number(tag, project)?, tag)));
        // Some count by days before they count, or beside it.
        let newest = numbered
            .max_by(|(a, one), (b, other)| (a.len() > 1, a, one).cmp(&(b.len() > 1, b, other)));
        newest.map(|(_, tag)| tag.as_str())
    }
}

/// `[1, 2, 0]` of `v1.2.0`.
fn number(tag: &str, project: &str) -> Option<Vec<u64>> {
    let start = tag.len() - tag.trim_start_matches(|c: char| !c.is_ascii_digit()).len();
    let lower = tag.to_ascii_lowercase();
    // The project's name may have digits.
    let start = match lower.strip_prefix(&project.to_ascii_lowercase()) {
        Some(rest) if !project.is_empty() && rest.starts_with(['-', '_', '/']) => {
            let rest = rest[1..].strip_prefix('v').unwrap_or(&rest[1..]);
            tag.len() - rest.len()
        }
        _ => {
            let before = lower[..start].trim_end_matches(['-', '_', '/']);
            let known = ["", "v", "r", "rel", "release", "release-v", "ver", "version"];
            known.contains(&before).then_some(start)?
        }
    };
    let parts = tag.get(start..)?.split(['.', '_', '-']);
    parts
        .map(|part| {
            let plain = part.len() <= 14 && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse().ok()).flatten()
        })
        .collect()
}

/// The full name of what a repository has under a name, and what kind of name it is: a tag before
/// a branch, as git itself decides.
pub(super) fn resolve(program: &Program<'_>, rev: &str) -> Result<(String, Named)> {
    let listing = Listing::ask(program)?;
    for name in [format!("{TAGS}{rev}"), format!("{BRANCHES}{rev}"), rev.to_owned()] {
        if listing.commit(&name).is_some() {
            let named = if name.starts_with(TAGS) { Named::Tag } else { Named::Branch };
            return Ok((name, named));
        }
    }
    let names = listing.names();
    let all = names.branches.iter().chain(&names.tags).map(String::as_str);
    let near = match nearest(rev, all) {
        Some(near) => format!("; it has `{near}`"),
        None if names.branches.is_empty() && names.tags.is_empty() => "; it is empty".to_owned(),
        None => String::new(),
    };
    Err(program.error(format!("`{rev}`"), format!("there is no such branch or tag{near}")))
}

const TAGS: &str = "refs/tags/";
const BRANCHES: &str = "refs/heads/";

/// What `git ls-remote --symref` answers: lines of a commit and a name, and one of the branch
/// that `HEAD` stands for.
struct Listing(String);

impl Listing {
    fn ask(program: &Program<'_>) -> Result<Self> {
        let answer = program.run(&["ls-remote", "--symref", "--", program.url()], None)?;
        Ok(Self(String::from_utf8_lossy(&answer).into_owned()))
    }

    fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter_map(|line| line.split_once('\t'))
    }

    fn commit(&self, name: &str) -> Option<&str> {
        let of = |wanted: &str| self.lines().find(|(to, name)| *name == wanted && is_commit(to));
        // Of a tag that is an object of its own, the commit that it is about.
        of(&format!("{name}^{{}}")).or_else(|| of(name)).map(|(commit, _)| commit)
    }

    fn names(&self) -> Names {
        let below = |prefix: &str| {
            let all = self.lines().filter_map(|(_, name)| name.strip_prefix(prefix));
            let mut found: Vec<String> =
                all.filter(|name| !name.ends_with("^{}")).map(str::to_owned).collect();
            found.sort();
            found
        };
        let branches = below(BRANCHES);
        let said = self.lines().find_map(|(to, name)| {
            to.strip_prefix("ref: refs/heads/").filter(|_| name == "HEAD").map(str::to_owned)
        });
        // Old servers do not say it.
        let default = said.filter(|name| branches.contains(name)).or_else(|| {
            let head = self.commit("HEAD")?;
            let same = |name: &&String| self.commit(&format!("{BRANCHES}{name}")) == Some(head);
            branches.iter().find(same).cloned()
        });
        Names { default, branches, tags: below(TAGS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_the_highest_number_that_is_no_candidate() {
        for (tags, project, newest) in [
            (&["v1.9", "v1.10", "v1.11rc1", "v2.0-beta"][..], "x", Some("v1.10")),
            (&["curl-7_88_1", "curl-7_9_0", "other-9.0"], "curl", Some("curl-7_88_1")),
            (&["release-72-1", "20250101"], "icu", Some("release-72-1")),
            (&["x264-1.2", "x264-v1.3"], "x264", Some("x264-v1.3")),
            (&["2015.1.0", "2015.1.0rc3", "kilo-eol"], "nova", Some("2015.1.0")),
            (&["debian/1.2-1", "upstream/1.2", "latest", "", "v", "v1."], "x", None),
        ] {
            let names = Names {
                tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                ..Names::default()
            };
            assert_eq!(names.newest_release(project), newest, "{tags:?}");
        }
    }

    #[test]
    fn the_default_branch_is_what_head_stands_for() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let tips = format!("{one}\trefs/heads/a\n{two}\trefs/heads/b\n{two}\trefs/tags/t^{{}}\n");
        for (head, default) in [
            (format!("ref: refs/heads/a\tHEAD\n{one}\tHEAD\n"), Some("a")),
            (format!("{two}\tHEAD\n"), Some("b")),
            ("ref: refs/heads/gone\tHEAD\n".to_owned(), None),
        ] {
            let names = Listing(format!("{head}{tips}")).names();
            assert_eq!(names.default.as_deref(), default, "{head}");
            assert_eq!((names.branches.len(), names.tags.len()), (2, 0));
        }
    }
}

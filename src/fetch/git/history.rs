//! What came before a commit: the newest tag, the commits since, the last ten of them.

use std::sync::atomic::AtomicBool;

use super::Revision;
use super::program::{Depth, Program};
use crate::archive::deb::version::Version;
use crate::fetch::client::{Client, Network};
use crate::fetch::error::{Error, Result};
use crate::store::Store;

/// What came before a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The newest reachable tag that holds a digit; empty where there is none.
    pub tag: String,
    /// How many commits that are no merges came since; since ever where there is no tag.
    pub commits: u64,
    /// The last ten commits, newest first.
    pub log: Vec<Commit>,
}

/// A commit as a changelog tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub commit: String,
    /// When it was committed, in seconds since 1970.
    pub date: i64,
    /// `Name <address>`.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
}

/// The longest author or subject that is kept, in characters.
const MAX_LINE: usize = 300;

/// What came before a commit; the names of what happened are fetched, and no files where the
/// server can leave them out.
pub fn history(
    store: &Store,
    client: &Client,
    revision: &Revision<'_>,
    cancel: &AtomicBool,
) -> Result<History> {
    let Revision { url, rev, commit } = *revision;
    if client.network() == Network::Offline {
        return Err(Error::Offline(format!("{url} {rev}")));
    }
    let program = Program::new(store, client, url, cancel)?;
    let (commit, _) = program.fetch(rev, commit, Depth::Commits)?;
    let tag = newest_tag(&program, &commit)?;
    let range = match &tag {
        Some(tag) => format!("refs/tags/{tag}..{commit}"),
        None => commit.clone(),
    };
    let count = program.run(&["rev-list", "--no-merges", "--count", &range, "--"], None)?;
    let commits = String::from_utf8_lossy(&count).trim().parse().map_err(|_| {
        program.error(format!("commit {commit}"), "its commits cannot be counted".to_owned())
    })?;
    Ok(History { tag: tag.unwrap_or_default(), commits, log: log(&program, &commit)? })
}

/// Of the tags that hold a digit and that lead to `commit` or to what came before it, the one
/// whose own commit is the newest; of several on that commit, the one made last, and then the
/// highest as versions count, a candidate before what it is a candidate for.
fn newest_tag(program: &Program<'_>, commit: &str) -> Result<Option<String>> {
    let format = "--format=%(refname)%00%(committerdate:unix)%00%(*committerdate:unix)%00\
                  %(creatordate:unix)";
    let merged = format!("--merged={commit}");
    let answer = program.run(&["for-each-ref", &merged, format, "refs/tags/"], None)?;
    let answer = String::from_utf8_lossy(&answer);
    let mut tags = Vec::new();
    for line in answer.lines() {
        let mut words = line.split('\0');
        let name = words.next().and_then(|name| name.strip_prefix("refs/tags/"));
        let Some(name) = name.filter(|name| name.contains(|c: char| c.is_ascii_digit())) else {
            continue;
        };
        let mut date = || words.next().and_then(|date| date.parse::<i64>().ok());
        let (plain, annotated, made) = (date(), date(), date());
        let Some(date) = plain.or(annotated) else { continue };
        tags.push(Tag { date, made: made.unwrap_or(date), rank: rank(name), name });
    }
    Ok(tags.into_iter().max().map(|tag| tag.name.to_owned()))
}

/// A tag, ordered by how new it is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Tag<'a> {
    /// When its commit was committed.
    date: i64,
    /// When it was made itself.
    made: i64,
    rank: Option<Version>,
    name: &'a str,
}

/// A tag as something that can be compared: `v1.2rc1` comes before `v1.2`.
fn rank(tag: &str) -> Option<Version> {
    let digits = tag.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut text = String::new();
    let mut last = '.';
    for letter in digits.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.') {
        if letter.is_ascii_alphabetic() && last.is_ascii_digit() {
            text.push('~');
        }
        text.push(letter);
        last = letter;
    }
    text.parse().ok()
}

fn log(program: &Program<'_>, commit: &str) -> Result<Vec<Commit>> {
    let format = "--format=%H%x00%ct%x00%an <%ae>%x00%s";
    let answer =
        program.run(&["log", "-z", "-n", "10", "--no-color", format, commit, "--"], None)?;
    let answer = String::from_utf8_lossy(&answer);
    let mut words = answer.split('\0');
    let mut found = Vec::new();
    while let (Some(commit), Some(date), Some(author), Some(subject)) =
        (words.next(), words.next(), words.next(), words.next())
    {
        let line = |text: &str| -> String {
            text.chars().filter(|c| !c.is_control()).take(MAX_LINE).collect()
        };
        found.push(Commit {
            commit: commit.to_owned(),
            date: date.parse().unwrap_or_default(),
            author: line(author),
            subject: line(subject),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn a_candidate_comes_before_what_it_is_a_candidate_for() {
        for (less, more) in [
            ("2015.1.0rc3", "2015.1.0"),
            ("v1.9", "v1.10"),
            ("1.2.3.0a4", "1.2.3.0"),
            ("release-1.2", "release-1.3"),
        ] {
            assert!(rank(less) < rank(more), "{less} {more}");
        }
    }
}

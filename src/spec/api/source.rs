//! Sources in specs: `dir`, `file`, `archive`, `git`, `tarball`, and what is known of a commit.

use std::sync::{Arc, PoisonError};

use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Map, NativeCallContext};

use super::{Host, kind_of, noted};
use crate::base::{Diagnostic, PackageName, ReleasePath, Sha256, Span};
use crate::spec::loader;
use crate::spec::lock::{LockedCommit, LockedGit, is_commit};
use crate::spec::model::{Download, Facts, Located, Remote, Source, Unfilled, check_late};

type Answer<T> = Result<T, Box<EvalAltResult>>;

/// The most places that one file can come from.
const MAX_URLS: usize = 20;

/// The largest `file(…)` of a release, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// Teaches `engine` the sources.
pub(super) fn register(engine: &mut Engine, host: &Host) {
    engine.register_type_with_name::<Source>("source");
    let this = host.clone();
    engine.register_fn("dir", move |context: NativeCallContext, path: Dynamic| {
        this.dir(&context, &path)
    });
    let this = host.clone();
    engine.register_fn("archive", move |context: NativeCallContext, name: Dynamic| {
        this.archive(&context, &name)
    });
    let this = host.clone();
    engine.register_fn("git", move |context: NativeCallContext, url: Dynamic, rev: Dynamic| {
        this.git(&context, &url, &rev)
    });
    for (name, kind) in [("tarball", Kind::Tarball), ("file", Kind::File)] {
        let this = host.clone();
        engine.register_fn(name, move |context: NativeCallContext, urls: Dynamic| {
            this.download(&context, kind, urls, None)
        });
        let this = host.clone();
        engine.register_fn(
            name,
            move |context: NativeCallContext, urls: Dynamic, hash: Dynamic| {
                this.download(&context, kind, urls, Some(hash))
            },
        );
    }
    for (name, fact) in FACTS {
        let this = host.clone();
        engine.register_get(name, move |context: NativeCallContext, source: &mut Source| {
            this.fact(&context, source, name, fact)
        });
    }
}

/// What is known of a commit.
const FACTS: [(&str, Fact); 5] = [
    ("tag", Fact::Tag),
    ("commits", Fact::Commits),
    ("log", Fact::Log),
    ("commit", Fact::Commit),
    ("date", Fact::Date),
];

#[derive(Clone, Copy)]
enum Fact {
    Tag,
    Commits,
    Log,
    Commit,
    Date,
}

/// What a file from elsewhere is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tarball,
    File,
}

impl Kind {
    fn function(self) -> &'static str {
        match self {
            Self::Tarball => "tarball",
            Self::File => "file",
        }
    }
}

impl Host {
    /// Notes that the lock must pin a source; says whether it does.
    pub(in crate::spec) fn ask(&self, remote: Remote, span: &Span) -> bool {
        let pinned = remote.is_pinned(&self.world.pins);
        self.state().remotes.push(Located { value: remote, span: Some(span.clone()) });
        pinned
    }

    fn fact(
        &self,
        context: &NativeCallContext<'_>,
        source: &Source,
        name: &str,
        fact: Fact,
    ) -> Answer<Dynamic> {
        let span = self.site(context).span;
        let wrong = |code, message: String, hint: &str| {
            self.note(Diagnostic::new(code, message).at(span.clone(), "").hint(hint));
            noted()
        };
        let Source::Git { url, rev, .. } = source else {
            let message = format!("only `git(…)` has `.{name}`");
            return Err(wrong("wrong-type", message, "it tells of a commit"));
        };
        if source.is_late() {
            let message = format!("`.{name}` of `{url}` at `{rev}` is not known here");
            let hint = "`{name}` and `{version}` are filled in only when the package is complete";
            return Err(wrong("bad-value", message, hint));
        }
        let facts = match fact {
            Fact::Commit | Fact::Date => Facts::Content,
            Fact::Tag | Fact::Commits | Fact::Log => Facts::History,
        };
        // Without a pin the file ends here, quietly: `lock` pins it and evaluates again.
        if !self.ask(Remote::Git { url: url.clone(), rev: rev.clone(), facts }, &span) {
            return Err(noted());
        }
        let pin = self.world.pins.git.get(&(url.clone(), rev.clone())).ok_or_else(noted)?;
        let LockedGit { commit, date, history, .. } = &**pin;
        let text = |text: &str| Dynamic::from(ImmutableString::from(text));
        Ok(match (fact, history) {
            (Fact::Commit, _) => text(commit),
            (Fact::Date, _) => text(date),
            (Fact::Tag, Some(history)) => text(&history.tag),
            (Fact::Commits, Some(history)) => {
                Dynamic::from(i64::try_from(history.commits).unwrap_or(i64::MAX))
            }
            (Fact::Log, Some(history)) => {
                Dynamic::from_array(history.log.iter().map(entry).collect())
            }
            (Fact::Tag | Fact::Commits | Fact::Log, None) => return Err(noted()),
        })
    }

    fn git(&self, context: &NativeCallContext<'_>, url: &Dynamic, rev: &Dynamic) -> Answer<Source> {
        let site = self.site(context);
        let url = self.text(url, "git", "the URL of a repository", &site.first())?;
        let span = site.args.get(1).map_or_else(|| site.span.clone(), |shape| shape.span.clone());
        let rev = self.text(rev, "git", "a branch, a tag or a commit", &span)?;
        let wrong = |message: String, hint: &str, span: Span| {
            self.note(Diagnostic::new("bad-value", message).at(span, "").hint(hint));
            noted()
        };
        let url = self.check_late(url, &site.first());
        let rev = self.check_late(rev, &span);
        address(&url, &["https", "http", "git", "ssh", "file"]).map_err(|problem| {
            wrong(problem, "such as `https://git.example.org/project`", site.first())
        })?;
        revision(&rev).map_err(|problem| {
            wrong(problem, "a branch, a tag or the full name of a commit is expected", span)
        })?;
        self.weigh(1, &site.span)?;
        Ok(Source::Git { url, rev, pinned: None })
    }

    fn download(
        &self,
        context: &NativeCallContext<'_>,
        kind: Kind,
        places: Dynamic,
        hash: Option<Dynamic>,
    ) -> Answer<Source> {
        let site = self.site(context);
        let (function, span) = (kind.function(), site.first());
        let wrong = |code, message: String, span: Span| {
            self.note(Diagnostic::new(code, message).at(span, ""));
            noted()
        };
        let sha256 = match hash {
            None => None,
            Some(hash) => {
                let span =
                    site.args.get(1).map_or_else(|| site.span.clone(), |arg| arg.span.clone());
                let text = self.text(&hash, function, "a SHA-256", &span)?;
                let digest = text.parse::<Sha256>().map_err(|_| {
                    let message = format!("`{text}` is no SHA-256: 64 hex digits are expected");
                    wrong("bad-value", message, span)
                })?;
                Some(digest)
            }
        };
        let mut urls: Vec<(String, Span)> = Vec::new();
        if places.is_string() {
            urls.push((self.text(&places, function, "a URL", &span)?, span.clone()));
        } else {
            let found = kind_of(&places);
            let items = places.try_cast::<Array>().ok_or_else(|| {
                let message = format!("`{function}` takes a URL or a list of them, not {found}");
                wrong("wrong-type", message, span.clone())
            })?;
            for (index, item) in items.iter().enumerate() {
                let span = site.args.first().map_or_else(|| span.clone(), |s| s.item(index).span);
                urls.push((self.text(item, function, "URLs", &span)?, span));
            }
        }
        if urls.is_empty() || urls.len() > MAX_URLS {
            let message = format!("`{function}` takes 1 to {MAX_URLS} URLs");
            return Err(wrong("bad-value", message, span));
        }
        if let ([(path, _)], Kind::File) = (&*urls, kind)
            && !path.contains("://")
        {
            if sha256.is_some() {
                let message = "a file of the release has no hash: it is its content".to_owned();
                return Err(wrong("bad-value", message, site.span));
            }
            return self.file(path, span);
        }
        for (url, span) in &mut urls {
            *url = self.check_late(std::mem::take(url), span);
            address(url, &["https", "http", "file"])
                .map_err(|problem| wrong("bad-value", problem, span.clone()))?;
        }
        self.weigh(urls.len(), &site.span)?;
        let urls = urls.into_iter().map(|(url, _)| url).collect();
        let download = Download { urls, sha256, pinned: None };
        let name = download.file_name();
        if kind == Kind::Tarball {
            return Ok(Source::Tarball(download));
        }
        if name.contains("://") || name.parse::<ReleasePath>().is_err() {
            let message = format!("`{}` does not end in the name of a file", download.urls[0]);
            return Err(wrong("bad-value", message, span));
        }
        Ok(Source::Fetched(download))
    }

    /// Notes what stands in braces and is not filled in later; evaluation goes on without the
    /// braces, so that what else is wrong with the file is known as well.
    fn check_late(&self, text: String, span: &Span) -> String {
        let Err(Unfilled { message, hint }) = check_late(&text) else { return text };
        let error = Diagnostic::new("bad-value", message).at(span.clone(), "");
        self.note(hint.into_iter().fold(error, Diagnostic::hint));
        text.replace(['{', '}'], "")
    }

    /// A file of the release.
    fn file(&self, path: &str, span: Span) -> Answer<Source> {
        let path = self.release_path(path, &span)?;
        self.weigh(1, &span)?;
        let bytes = self.world.loader.read(&path, MAX_FILE).map_err(|error| {
            self.note(self.unreadable(&error, &path).at(span, ""));
            noted()
        })?;
        Ok(Source::File { path, size: bytes.len() as u64, sha256: Sha256::of(&bytes) })
    }

    fn text(&self, value: &Dynamic, function: &str, expected: &str, span: &Span) -> Answer<String> {
        match value.read_lock::<ImmutableString>() {
            Some(text) => Ok(text.to_string()),
            None => {
                let found = kind_of(value);
                let message = format!("`{function}` takes {expected} as a string, not {found}");
                self.note(Diagnostic::new("wrong-type", message).at(span.clone(), ""));
                Err(noted())
            }
        }
    }

    fn archive(&self, context: &NativeCallContext<'_>, name: &Dynamic) -> Answer<Source> {
        let span = self.site(context).first();
        let name = self.source_name(name, "archive", &span).ok_or_else(noted)?;
        Ok(Source::Archive { name })
    }

    /// A source package's name, or a noted error.
    pub(super) fn source_name(
        &self,
        name: &Dynamic,
        function: &str,
        span: &Span,
    ) -> Option<PackageName> {
        let error = match name.read_lock::<ImmutableString>() {
            None => {
                let message = format!("`{function}` takes names, not {}", kind_of(name));
                Diagnostic::new("wrong-type", message)
            }
            Some(text) => match text.parse() {
                Ok(name) => return Some(name),
                Err(error) => Diagnostic::new("bad-value", error.to_string()),
            },
        };
        self.note(error.at(span.clone(), ""));
        None
    }

    /// What is said of something of the release that cannot be read, with the name of what it was
    /// most likely meant to be.
    pub(super) fn unreadable(&self, error: &loader::Error, path: &ReleasePath) -> Diagnostic {
        let diagnostic = Diagnostic::new("unreadable", error.to_string());
        let is_missing = matches!(error, loader::Error::Missing(_));
        match is_missing.then(|| self.world.loader.near(path)).flatten() {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
            None => diagnostic,
        }
    }

    fn release_path(&self, text: &str, span: &Span) -> Answer<ReleasePath> {
        let path: ReleasePath = text.parse().map_err(|error| {
            let error = Diagnostic::new("bad-path", format!("{error}"));
            self.note(error.at(span.clone(), "every path is relative to the release folder"));
            noted()
        })?;
        Ok(span.file.folder().path(&path))
    }

    fn dir(&self, context: &NativeCallContext<'_>, path: &Dynamic) -> Answer<Source> {
        let span = self.site(context).first();
        let path: ReleasePath = match path.read_lock::<ImmutableString>() {
            Some(text) => self.release_path(&text, &span)?,
            None => {
                let message = format!("`dir` takes a path, not {}", kind_of(path));
                self.note(Diagnostic::new("wrong-type", message).at(span, ""));
                return Err(noted());
            }
        };
        let dir = {
            // Held while hashing, so that no folder is hashed twice.
            let mut dirs = self.world.dirs.lock().unwrap_or_else(PoisonError::into_inner);
            let hash = || {
                let dir = self.world.loader.dir(&path);
                Arc::new(dir.map_err(|error| self.unreadable(&error, &path)))
            };
            Arc::clone(dirs.entry(path.clone()).or_insert_with(hash))
        };
        self.state().folders.push(path.clone());
        match &*dir {
            Ok(dir) if dir.tree.entries().is_empty() => {
                let message = format!("`{path}` has no files");
                self.note(Diagnostic::new("bad-path", message).at(span, ""));
                Err(noted())
            }
            Ok(dir) => {
                let (tree, packaging) = (dir.tree.clone(), dir.packaging.clone());
                Ok(Source::Dir { path, tree, packaging })
            }
            Err(error) => {
                self.note(error.clone().at(span, ""));
                Err(noted())
            }
        }
    }
}

fn entry(commit: &LockedCommit) -> Dynamic {
    let LockedCommit { commit, date, author, subject } = commit;
    let members = [("commit", commit), ("date", date), ("author", author), ("subject", subject)];
    let members = members
        .map(|(key, value)| (key.into(), Dynamic::from(ImmutableString::from(value.as_str()))));
    Dynamic::from_map(Map::from(members))
}

/// Says why a text is not the URL of something to be fetched, if so.
fn address(url: &str, schemes: &[&str]) -> Result<(), String> {
    let known: Vec<String> = schemes.iter().map(|scheme| format!("`{scheme}://`")).collect();
    let begins = || format!("`{url}` does not begin with one of {}", known.join(", "));
    let (scheme, rest) = url.split_once("://").ok_or_else(begins)?;
    if !schemes.contains(&scheme) {
        return Err(begins());
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.len() > 2000 {
        return Err(format!("`{url}` has characters that a URL cannot have, or too many"));
    }
    let host = rest.split('/').next().unwrap_or_default();
    match scheme {
        "file" if !rest.starts_with('/') => {
            return Err(format!("`{url}` names no file: write `file:///…`"));
        }
        "file" => {}
        // What begins with a dash would be an option of the programs that fetch.
        _ if host.is_empty() || host.starts_with('-') => {
            return Err(format!("`{url}` names no host"));
        }
        _ => {}
    }
    if host.rsplit_once('@').is_some_and(|(user, _)| user.contains(':') || user.starts_with('-')) {
        return Err("a URL with a password in it would be published with the release".to_owned());
    }
    Ok(())
}

/// Says why a text is not a revision, if so: the rules of `git check-ref-format`.
fn revision(rev: &str) -> Result<(), String> {
    let late = rev.replace("{name}", "n").replace("{version}", "v");
    let bad = |c: char| c.is_control() || " ~^:?*[\\{}".contains(c) || !c.is_ascii();
    let part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let wrong = late.contains(bad)
        || late.contains("..")
        || late.contains("@{")
        || late == "@"
        || late.starts_with('-')
        || late.ends_with('.')
        || late.len() > 200
        || late.split('/').any(part);
    let hex = |byte: u8| byte.is_ascii_hexdigit();
    if wrong {
        return Err(format!("`{rev}` cannot be a revision"));
    }
    if late.len() == 40 && late.bytes().all(hex) && !is_commit(&late) {
        return Err(format!("`{rev}`: names of commits are written in small letters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{address, revision};

    #[test]
    fn addresses_are_plain_urls_without_secrets() {
        for good in ["https://a.example/x{version}.tar.gz", "file:///srv/x", "ssh://git@h/x"] {
            assert_eq!(address(good, &["https", "ssh", "file"]), Ok(()), "{good}");
        }
        for bad in [
            "ext::sh -c id",
            "--upload-pack=x://h/y",
            "ssh://-oProxyCommand=id/x",
            "ssh://-x@h/y",
            "https://user:secret@h/x",
            "https:///x",
            "file://host/x",
            "git@host:x",
            "https://h/a b",
            "https://h/\u{1}",
        ] {
            assert!(address(bad, &["https", "ssh", "file"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn revisions_are_names_and_no_expressions() {
        for good in ["main", "stable/kilo", "v{version}", "2015.1.0rc1", "refs/tags/v1"] {
            assert_eq!(revision(good), Ok(()), "{good}");
        }
        for bad in ["", "-x", "a..b", "a^", "a~1", "a:b", "@", "a@{1}", "a b", "a/", "/a", "*"] {
            assert!(revision(bad).is_err(), "{bad}");
        }
        assert!(revision(&"A".repeat(40)).is_err());
    }
}

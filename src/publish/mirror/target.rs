//! Where a mirror is.

use std::fmt;
use std::str::FromStr;

use crate::base::HostPath;

/// A place that a repository can be brought to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A folder of this machine.
    Folder(HostPath),
    /// A place that rsync reaches.
    Rsync(Remote),
    /// A part of a bucket of an object store.
    Bucket {
        /// The bucket.
        name: String,
        /// What the names of all objects begin with: empty, or without `/` at its ends.
        prefix: String,
    },
}

/// A place as rsync writes it: `HOST:PATH`, `HOST::MODULE/PATH`, `rsync://HOST/MODULE/PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote(String);

/// A text that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It could be a folder or a host.
    #[error("`{0}` is no target: a folder is written with a `/`, as in `./{0}`, a host with a `:`")]
    Word(String),
    /// It lacks the host, the module, the path or the bucket.
    #[error("`{0}` is no target: {1} is missing")]
    Lacks(String, &'static str),
    /// It holds what a program on the way there could take for something else.
    #[error("`{0}` is no target: no `*`, `?`, `[`, `\\` or control character, no `-` at its start")]
    Letters(String),
}

impl Remote {
    /// A folder of it, with a `/` at its end.
    pub fn folder(&self, path: &str) -> String {
        match path {
            "" => format!("{}/", self.0),
            path => format!("{}/{path}/", self.0),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.fmt(f),
            Self::Rsync(remote) => remote.fmt(f),
            Self::Bucket { name, prefix } => write!(f, "s3://{name}/{prefix}"),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let is_odd = |letter: char| matches!(letter, '*' | '?' | '[' | '\\') || letter.is_control();
        if text.starts_with('-') || text.contains(is_odd) {
            return Err(TargetError::Letters(text.escape_debug().to_string()));
        }
        let lacks = |what| TargetError::Lacks(text.to_owned(), what);
        if let Some(rest) = text.strip_prefix("s3://") {
            let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/').to_owned();
            return match name {
                "" => Err(lacks("the bucket")),
                name => Ok(Self::Bucket { name: name.to_owned(), prefix }),
            };
        }
        if let Some(rest) = text.strip_prefix("rsync://") {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            return remote(text, host, path.trim_matches('/'), "the module");
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.starts_with('/') {
                true => Ok(folder(path)),
                false => Err(lacks("the path from `/`")),
            };
        }
        match text.split_once(':') {
            Some((host, path)) if !host.contains('/') => match path.strip_prefix(':') {
                Some(module) => remote(text, host, module.trim_matches('/'), "the module"),
                None => remote(text, host, path, "the path"),
            },
            _ if text.contains('/') || matches!(text, "." | "..") => Ok(folder(text)),
            _ => Err(TargetError::Word(text.to_owned())),
        }
    }
}

fn folder(path: &str) -> Target {
    Target::Folder(HostPath::new(std::path::absolute(path).unwrap_or_else(|_| path.into())))
}

fn remote(text: &str, host: &str, path: &str, what: &'static str) -> Result<Target, TargetError> {
    let lacks = |what| Err(TargetError::Lacks(text.to_owned(), what));
    // What follows the user's name must not look like an option to ssh.
    let name = host.rsplit('@').next().unwrap_or(host);
    if name.starts_with('-') {
        return Err(TargetError::Letters(text.to_owned()));
    }
    if name.is_empty() {
        return lacks("the host");
    }
    if path.is_empty() {
        return lacks(what);
    }
    Ok(Target::Rsync(Remote(text.trim_end_matches('/').to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(text: &str) -> Target {
        Target::Rsync(Remote(text.to_owned()))
    }

    fn bucket(name: &str, prefix: &str) -> Target {
        Target::Bucket { name: name.to_owned(), prefix: prefix.to_owned() }
    }

    #[test]
    fn a_text_says_what_kind_of_place_it_is() {
        for (text, expected) in [
            ("/srv/mirror", folder("/srv/mirror")),
            ("file:/srv/mirror", folder("/srv/mirror")),
            ("file:///srv/mirror", folder("/srv/mirror")),
            ("/srv/a:b", folder("/srv/a:b")),
            ("host:mirror/", remote("host:mirror")),
            ("user@host:/srv/mirror", remote("user@host:/srv/mirror")),
            ("host::module/path/", remote("host::module/path")),
            ("rsync://host:873/module/path", remote("rsync://host:873/module/path")),
            ("s3://bucket", bucket("bucket", "")),
            ("s3://bucket/a/b/", bucket("bucket", "a/b")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_could_be_something_else_is_refused() {
        for text in [
            "mirror",
            "",
            "-e:x",
            "u@-oProxyCommand=x:y",
            "host:",
            "host::",
            "rsync://host",
            "rsync:///module",
            "s3://",
            "s3:///a",
            "file:x",
            "/srv/*",
            "host:/a?",
            "/a\nb",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}

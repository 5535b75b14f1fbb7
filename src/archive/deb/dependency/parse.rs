//! The grammar of relationship fields.

use super::{
    Alternatives, ArchitectureTerm, Dependencies, Operator, ProfileTerm, Qualifier, Relation,
    profile_term,
};
use crate::archive::deb::version;
use crate::base::NameError;

/// Why a text is not a relationship field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A package or architecture name is none.
    #[error("in the relation `{relation}`: {reason}")]
    Name {
        /// The relation's beginning.
        relation: String,
        /// Why.
        reason: NameError,
    },
    /// A version is none.
    #[error("in the relation `{relation}`: {reason}")]
    Version {
        /// The relation's beginning.
        relation: String,
        /// Why.
        reason: version::Error,
    },
    /// Something else stands where it should not.
    #[error("in the relation `{relation}`: {expected}")]
    Syntax {
        /// The relation's beginning.
        relation: String,
        /// What is wrong.
        expected: &'static str,
    },
}

pub(super) fn dependencies(text: &str) -> Result<Dependencies, Error> {
    let mut all = Vec::new();
    for part in text.split(',') {
        if !part.trim_ascii().is_empty() {
            let alternatives: Result<_, _> = part.split('|').map(relation).collect();
            all.push(Alternatives(alternatives?));
        }
    }
    Ok(Dependencies(all))
}

fn relation(text: &str) -> Result<Relation, Error> {
    let mut rest = Rest { relation: text.trim_ascii(), rest: text.trim_ascii() };
    let word = rest.until([' ', '\t', '\n', '\r', '(', '[', '<']);
    let (name, qualifier) = match word.split_once(':') {
        None => (word, None),
        Some((name, "any")) => (name, Some(Qualifier::Any)),
        Some((name, "native")) => (name, Some(Qualifier::Native)),
        Some((name, architecture)) => {
            let architecture = architecture.parse().map_err(|reason| rest.bad_name(reason))?;
            (name, Some(Qualifier::Architecture(architecture)))
        }
    };
    if name.is_empty() {
        return Err(rest.bad("a package name is missing"));
    }
    let name = name.parse().map_err(|reason| rest.bad_name(reason))?;
    let version = match rest.enclosed('(', ')')? {
        None => None,
        Some(inner) => Some(version_term(&rest, inner)?),
    };
    let architectures = match rest.enclosed('[', ']')? {
        None => Vec::new(),
        Some(inner) => architecture_terms(&rest, inner)?,
    };
    let mut profiles = Vec::new();
    while let Some(inner) = rest.enclosed('<', '>')? {
        profiles.push(profile_terms(&rest, inner)?);
    }
    if !rest.rest.trim_ascii().is_empty() {
        return Err(rest.bad(
            "after the name, in this order: `(>= version)`, `[architectures]`, `<profiles>`",
        ));
    }
    Ok(Relation { name, qualifier, version, architectures, profiles })
}

fn version_term(rest: &Rest<'_>, inner: &str) -> Result<(Operator, version::Version), Error> {
    let split = inner.find(|c| !matches!(c, '<' | '=' | '>')).unwrap_or(inner.len());
    let operator = match &inner[..split] {
        "<<" => Operator::Less,
        "<=" | "<" => Operator::LessEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::GreaterEqual,
        ">>" => Operator::Greater,
        _ => return Err(rest.bad("before a version `<<`, `<=`, `=`, `>=` or `>>` is expected")),
    };
    let version = inner[split..].trim_ascii().parse();
    let version =
        version.map_err(|reason| Error::Version { relation: excerpt(rest.relation), reason })?;
    Ok((operator, version))
}

fn architecture_terms(rest: &Rest<'_>, inner: &str) -> Result<Vec<ArchitectureTerm>, Error> {
    let mut terms = Vec::new();
    for word in inner.split_ascii_whitespace() {
        let (negated, name) = match word.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, word),
        };
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || name.starts_with('-') || !name.bytes().all(valid) {
            return Err(rest.bad("architecture names are expected in `[…]`"));
        }
        terms.push(ArchitectureTerm { negated, name: name.to_ascii_lowercase() });
    }
    if terms.is_empty() {
        return Err(rest.bad("an architecture list may not be empty"));
    }
    Ok(terms)
}

fn profile_terms(rest: &Rest<'_>, inner: &str) -> Result<Vec<ProfileTerm>, Error> {
    let terms: Vec<ProfileTerm> = inner.split_ascii_whitespace().map(profile_term).collect();
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
    if terms.is_empty() {
        return Err(rest.bad("a profile list may not be empty"));
    }
    if !terms.iter().all(|term| !term.name.is_empty() && term.name.bytes().all(valid)) {
        return Err(rest.bad("build profile names are expected in `<…>`"));
    }
    Ok(terms)
}

/// A relation, and what of it has not been read yet.
struct Rest<'a> {
    relation: &'a str,
    rest: &'a str,
}

impl<'a> Rest<'a> {
    fn until<const N: usize>(&mut self, ends: [char; N]) -> &'a str {
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// What stands between `open` and `close`, if `open` comes next.
    fn enclosed(&mut self, open: char, close: char) -> Result<Option<&'a str>, Error> {
        let Some(inner) = self.rest.trim_ascii_start().strip_prefix(open) else {
            return Ok(None);
        };
        let Some((inner, rest)) = inner.split_once(close) else {
            return Err(self.bad("a closing bracket is missing"));
        };
        self.rest = rest;
        Ok(Some(inner.trim_ascii()))
    }

    fn bad(&self, expected: &'static str) -> Error {
        Error::Syntax { relation: excerpt(self.relation), expected }
    }

    fn bad_name(&self, reason: NameError) -> Error {
        Error::Name { relation: excerpt(self.relation), reason }
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_read() {
        for (text, printed) in [
            ("", ""),
            ("foo", "foo"),
            (" foo ,\n bar | baz:any,", "foo, bar | baz:any"),
            ("foo(>=1:2-3)", "foo (>= 1:2-3)"),
            (
                "foo:native ( << 1 ) [ !amd64\n!any-i386 ]<!a  b> < c >",
                "foo:native (<< 1) [!amd64 !any-i386] <!a b> <c>",
            ),
            ("foo (< 1), foo (> 1)", "foo (<= 1), foo (>= 1)"),
            ("g++:arm64", "g++:arm64"),
        ] {
            let read = dependencies(text).unwrap();
            assert_eq!(read.to_string(), printed);
            assert_eq!(dependencies(printed).unwrap(), read);
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_relation() {
        let error = |text| dependencies(text).unwrap_err().to_string();
        assert_eq!(error("a1, b1 | "), "in the relation ``: a package name is missing");
        assert_eq!(
            error("foo (1)"),
            "in the relation `foo (1)`: before a version `<<`, `<=`, `=`, `>=` or `>>` is expected"
        );
        assert_eq!(error("foo (>= 1"), "in the relation `foo (>= 1`: a closing bracket is missing");
        assert_eq!(
            error("foo (>= )"),
            "in the relation `foo (>= )`: `` is not a version: it is empty"
        );
        assert_eq!(
            error("foo []"),
            "in the relation `foo []`: an architecture list may not be empty"
        );
        assert_eq!(error("foo <>"), "in the relation `foo <>`: a profile list may not be empty");
        for bad in [
            "foo bar",
            "foo <a> [b]",
            "foo [b] (= 1)",
            "Foo",
            "${x}",
            "a1 | | b1",
            "é",
            "foo:",
            "foo:any:any",
            "foo (>= 1) (<< 2)",
            "foo (=> 1)",
            "foo [a,b]",
        ] {
            assert!(dependencies(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_ends_in_relations_or_an_error(text in "[abz0 :|,()\\[\\]<>=!.\u{e9}-]{0,40}") {
            if let Ok(read) = dependencies(&text) {
                proptest::prop_assert_eq!(dependencies(&read.to_string()), Ok(read));
            }
        }
    }
}

//! The words of the language with their documentation, for tools that help to write specs.
//!
//! Which fields and functions there are is what evaluation says; only their documentation is here.

mod words;

use words::{FIELDS, METHODS, NATIVES, PARTS, Part};

use super::api;
use super::stdlib;
use super::syntax::{Kind, Token, tokens};

/// A key that a map may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What its value is: `a list of strings`.
    pub value: &'static str,
    /// Documentation in Markdown; empty where there is none.
    pub doc: &'static str,
}

/// A function that specs may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// How it is called: `script(text)`.
    pub signature: String,
    /// Documentation in Markdown; empty where there is none.
    pub doc: String,
    /// Where its name is in the text that defines it, in bytes; 0 for one of the program's own.
    pub at: usize,
}

/// The fields of a package, as evaluation knows them.
pub fn fields() -> Vec<Field> {
    let doc = |name| FIELDS.iter().find(|(known, _)| *known == name).map_or("", |(_, doc)| doc);
    api::field::fields().map(|(name, value)| Field { name, value, doc: doc(name) }).collect()
}

/// The keys of a map that a field's value is, or has in its list, or that `recipe` takes; none
/// for other fields.
pub fn parts(field: &str) -> Vec<Field> {
    let docs = PARTS.iter().filter(|(known, _)| *known == field);
    let docs: Vec<&Part> = docs.flat_map(|(_, parts)| *parts).collect();
    let keys = api::field::parts(field).into_iter();
    keys.map(|name| match docs.iter().find(|(known, ..)| *known == name) {
        Some((_, value, doc)) => Field { name, value, doc },
        None => Field { name, value: "", doc: "" },
    })
    .collect()
}

/// The functions that are part of the program, as evaluation knows them.
pub fn natives() -> Vec<Function> {
    let known = NATIVES.iter().map(native);
    known.filter(|function| api::NAMES.contains(&function.name.as_str())).collect()
}

/// What packages can be changed by, `package.with(…)`, and what the source of a commit is asked.
pub fn methods() -> Vec<Function> {
    METHODS.iter().map(native).collect()
}

fn native((signature, doc): &(&str, &str)) -> Function {
    let name = signature.split('(').next().unwrap_or_default().to_owned();
    Function { name, signature: (*signature).to_owned(), doc: (*doc).to_owned(), at: 0 }
}

/// The stdlib's modules and what each defines, as this program brings them.
pub fn stdlib() -> impl Iterator<Item = (&'static str, Vec<Function>)> {
    stdlib::MODULES.iter().map(|(module, text)| (*module, functions(text)))
}

/// Whether the functions of a module of the stdlib are called as `module::function`.
pub fn is_namespace(module: &str) -> bool {
    api::used::is_namespace(module)
}

/// What a module's text says of itself: the comment that it begins with.
pub fn about(text: &str) -> String {
    comment_after(text, &tokens(text), 0)
}

/// The functions that a module's text defines for others. The comment right above one is its
/// documentation; above the first of a file, the comment the file begins with counts where it has
/// none of its own.
pub fn functions(text: &str) -> Vec<Function> {
    let tokens = tokens(text);
    let top = comment_after(text, &tokens, 0);
    let mut found: Vec<Function> = Vec::new();
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Word if depth == 0 && token.text(text) == "fn" => {
                let before = tokens[..index].iter().rposition(|token| !token.is_trivia());
                let private = before.is_some_and(|at| tokens[at].text(text) == "private");
                if let (false, Some(mut function)) = (private, function(text, &tokens, index)) {
                    if function.doc.is_empty() && found.is_empty() {
                        function.doc.clone_from(&top);
                    }
                    found.push(function);
                }
            }
            _ => {}
        }
    }
    found
}

/// The function whose `fn` is the token at `index`.
fn function(text: &str, tokens: &[Token], index: usize) -> Option<Function> {
    let mut rest = tokens[index + 1..].iter().filter(|token| !token.is_trivia());
    let name = rest.next().filter(|token| token.kind == Kind::Word)?;
    let mut signature = name.text(text).to_owned();
    for token in rest.take(200) {
        match token.text(text) {
            "{" => break,
            "," => signature.push_str(", "),
            other => signature.push_str(other),
        }
    }
    Some(Function {
        name: name.text(text).to_owned(),
        signature,
        doc: comment_before(text, tokens, index),
        at: name.start,
    })
}

/// The lines of comment right above a token.
fn comment_before(text: &str, tokens: &[Token], index: usize) -> String {
    let mut lines = Vec::new();
    for token in tokens[..index].iter().rev() {
        match token.kind {
            Kind::Comment => lines.push(comment_line(token.text(text))),
            Kind::Space if token.text(text).matches('\n').count() <= 1 => {}
            _ => break,
        }
    }
    lines.reverse();
    lines.join("\n").trim().to_owned()
}

/// The lines of comment from a token on, up to the first empty line.
fn comment_after(text: &str, tokens: &[Token], index: usize) -> String {
    let mut lines = Vec::new();
    for token in &tokens[index..] {
        match token.kind {
            Kind::Comment => lines.push(comment_line(token.text(text))),
            Kind::Space if token.text(text).matches('\n').count() <= 1 => {}
            _ => break,
        }
    }
    lines.join("\n").trim().to_owned()
}

fn comment_line(comment: &str) -> &str {
    let line = comment.trim_start_matches('/');
    line.strip_prefix(' ').unwrap_or(line).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_language_is_documented() {
        for field in fields() {
            assert!(!field.doc.is_empty(), "the field `{}` has no documentation", field.name);
        }
        for (field, _) in PARTS {
            for part in parts(field) {
                let name = part.name;
                assert!(!part.doc.is_empty(), "`{name}` of `{field}` has no documentation");
            }
        }
        let stdlib: Vec<_> = stdlib().collect();
        for (module, functions) in &stdlib {
            for function in functions {
                assert!(!function.doc.is_empty(), "`{module}`: no comment above {function:?}");
            }
        }
        let modules = stdlib.iter().filter(|(module, _)| is_namespace(module));
        let known: Vec<String> = modules
            .map(|(module, _)| (*module).to_owned())
            .chain(natives().into_iter().map(|function| function.name))
            .chain(stdlib.iter().flat_map(|(_, it)| it).map(|function| function.name.clone()))
            .collect();
        for name in api::NAMES.iter().filter(|name| **name != "release") {
            assert!(known.iter().any(|known| known == name), "`{name}` has no documentation");
        }
    }

    #[test]
    fn functions_come_with_the_comment_above_them() {
        let text = "// Of the file.\n\n// Says\n// it.\nfn a(x,y) { fn_() }\n\nprivate fn b() {}\n\n\
                    // Not this.\n\nfn c() {}\n";
        let found = functions(text);
        let told: Vec<_> =
            found.iter().map(|it| (it.signature.as_str(), it.doc.as_str())).collect();
        assert_eq!(told, [("a(x, y)", "Says\nit."), ("c()", "")]);
        assert_eq!(&text[found[0].at..found[0].at + 4], "a(x,");
        assert_eq!(functions("// Of the file.\n\nfn a() {}")[0].doc, "Of the file.");
        assert_eq!(functions("fn"), []);
    }
}

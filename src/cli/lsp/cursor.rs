//! What stands where the cursor is, in a text that is being written: no syntax tree, only
//! tokens, and the brackets that are open.

use std::ops::Range;

use crate::spec::syntax::{Kind, Token, interpolations, tokens};

/// How many strings may lie around one another before their code is not looked at.
const MAX_DEPTH: usize = 8;

/// The surroundings of a place in a text.
pub struct Cursor<'a> {
    text: &'a str,
    offset: usize,
    /// Where `text` begins in the whole text.
    base: usize,
    /// The tokens that mean something.
    tokens: Vec<Token>,
    /// The token the cursor is in, or right behind.
    touched: Option<Token>,
    /// How many tokens lie wholly before the cursor, the touched one not counted.
    before: usize,
    /// The open brackets, outermost first, by index of their token.
    open: Vec<usize>,
}

/// What the map around the cursor describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// A package: the map of `package(…)`, `.with(…)` or `.add(…)`.
    Package,
    /// A part of a package: the map that this field is, or has in its list.
    Part(&'a str),
}

/// What a string means by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Dependencies in the distribution's syntax.
    Dependencies,
    /// A source package of the pinned archive.
    Source,
    /// A package of the release.
    Package,
    /// A binary package.
    Binary,
    /// A folder of the release.
    Folder,
    /// A file of the release.
    File,
    /// A module below `lib/`.
    Module,
    /// A `[root.NAME]`.
    Root,
    /// An architecture.
    Architecture,
}

/// What a word means by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// A key of a map.
    Key(Owner<'a>),
    /// Behind `release.`
    Parameter,
    /// Behind the `.` of something else.
    Method,
    /// Behind `NAME::`
    Module(&'a str),
    /// Anywhere that a value may be.
    Value,
}

impl<'a> Cursor<'a> {
    /// The surroundings of a byte.
    pub fn at(text: &'a str, offset: usize) -> Self {
        Self::within(text, offset, 0)
    }

    /// The same in code that lies so many strings deep.
    fn within(text: &'a str, offset: usize, depth: usize) -> Self {
        let all = tokens(text);
        let touching = |token: &&Token| token.start < offset && offset <= token.end;
        let here = all.iter().find(touching).or_else(|| all.iter().find(|t| t.start == offset));
        if let Some(here) = here.filter(|_| depth < MAX_DEPTH) {
            let inner = interpolations(here, text);
            let inner = inner.into_iter().find(|it| it.start <= offset && offset <= it.end);
            if let Some(Range { start, end }) = inner {
                let inner = Self::within(&text[start..end], offset - start, depth + 1);
                return Self { base: inner.base + start, ..inner };
            }
        }
        // Between two tokens the later one counts where it begins a word or a string.
        let meant = |token: &&Token| matches!(token.kind, Kind::Word | Kind::Text);
        let begins = all.iter().find(|token| token.start == offset).filter(meant);
        let touched = match here {
            Some(token) if meant(&token) => Some(*token),
            other => begins.or(other).copied(),
        };
        let tokens: Vec<Token> = all.into_iter().filter(|token| !token.is_trivia()).collect();
        let start = touched.map_or(offset, |token| token.start);
        let mut before = tokens.partition_point(|token| token.end <= start);
        // What merely touches the cursor, and is no word or string, is behind it.
        if touched.is_some_and(|token| !meant(&&token) && !token.is_trivia()) {
            before = tokens.partition_point(|token| token.end <= offset);
        }
        let mut open = Vec::new();
        for (index, token) in tokens[..before].iter().enumerate() {
            match token.kind {
                Kind::Open => open.push(index),
                Kind::Close => {
                    open.pop();
                }
                _ => {}
            }
        }
        Self { text, offset, base: 0, tokens, touched, before, open }
    }

    /// The whole text's bytes from a range of this part's.
    fn whole(&self, range: Range<usize>) -> Range<usize> {
        range.start + self.base..range.end + self.base
    }

    fn word(&self, index: usize) -> &'a str {
        self.tokens.get(index).map_or("", |token| token.text(self.text))
    }

    fn kind(&self, index: usize) -> Option<Kind> {
        self.tokens.get(index).map(|token| token.kind)
    }

    /// The token that is touched, if it is of this kind.
    fn touched(&self, kind: Kind) -> Option<Token> {
        self.touched.filter(|token| token.kind == kind)
    }

    /// Whether the cursor is in a comment, where nothing means anything.
    pub fn in_comment(&self) -> bool {
        let offset = self.offset;
        self.touched.is_some_and(|token| match token.kind {
            Kind::Comment => token.start < offset,
            Kind::Block => token.start < offset && offset < token.end,
            _ => false,
        })
    }

    /// The word that the cursor is in or at the end of, whole.
    pub fn whole_word(&self) -> Option<(&'a str, Range<usize>)> {
        let token = self.touched(Kind::Word)?;
        Some((token.text(self.text), self.whole(token.start..token.end)))
    }

    /// The bytes of the word that is being written, up to the cursor and behind it.
    pub fn partial(&self) -> Range<usize> {
        match self.touched(Kind::Word) {
            Some(token) => self.whole(token.start..token.end),
            None => self.whole(self.offset..self.offset),
        }
    }

    /// The string that the cursor is in: its content, where that begins in the whole text, and
    /// where the cursor is in the content.
    pub fn string(&self) -> Option<(&'a str, usize, usize)> {
        let token = self.touched(Kind::Text)?;
        let inside = token.inside(self.text);
        let within = inside.start <= self.offset && self.offset <= inside.end;
        let content = self.text.get(inside.clone())?;
        within.then(|| (content, inside.start + self.base, self.offset - inside.start))
    }

    /// What the word at the cursor, written or about to be, means.
    pub fn place(&self) -> Place<'a> {
        let Some(last) = self.before.checked_sub(1) else { return Place::Value };
        match self.word(last) {
            "." | "?." => match last.checked_sub(1).map(|at| self.word(at)) {
                Some("release") => return Place::Parameter,
                _ => return Place::Method,
            },
            "::" => {
                let module = last.checked_sub(1).map_or("", |at| self.word(at));
                return Place::Module(module);
            }
            _ => {}
        }
        let owner = self.open.last().and_then(|_| self.owner(self.open.len() - 1));
        let at_key = self.open.last() == Some(&last) || self.word(last) == ",";
        match owner {
            Some(owner) if at_key => Place::Key(owner),
            _ => Place::Value,
        }
    }

    /// What the map that is open at this level describes.
    fn owner(&self, level: usize) -> Option<Owner<'a>> {
        let index = *self.open.get(level)?;
        if self.word(index) != "#{" {
            return None;
        }
        let outer = self.level_outside_lists(level)?;
        match self.called(outer) {
            Some("package" | "with" | "add") => Some(Owner::Package),
            Some("recipe") => Some(Owner::Part("recipe")),
            Some(_) => None,
            None => {
                let around = self.called(self.level_outside_lists(outer)?);
                let package = matches!(around, Some("package" | "with" | "add"));
                let key = self.key(outer).filter(|_| package)?;
                Some(Owner::Part(key))
            }
        }
    }

    /// The nearest level around this one that is no list.
    fn level_outside_lists(&self, level: usize) -> Option<usize> {
        (0..level).rev().find(|at| self.word(self.open[*at]) != "[")
    }

    /// The function whose arguments are open at this level.
    fn called(&self, level: usize) -> Option<&'a str> {
        let index = *self.open.get(level)?;
        let name = index.checked_sub(1)?;
        (self.word(index) == "(" && self.kind(name) == Some(Kind::Word)).then(|| self.word(name))
    }

    /// The key whose value is being written in the map that is open at this level.
    fn key(&self, level: usize) -> Option<&'a str> {
        let start = *self.open.get(level)?;
        let end = self.open.get(level + 1).copied().unwrap_or(self.before);
        let mut depth = 0_usize;
        let mut key = None;
        for index in start + 1..end {
            match self.kind(index) {
                Some(Kind::Open) => depth += 1,
                Some(Kind::Close) => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                _ => match self.word(index) {
                    "," => key = None,
                    ":" if key.is_none() => key = index.checked_sub(1).map(|at| self.name(at)),
                    _ => {}
                },
            }
        }
        key
    }

    /// A word, or what a string says.
    fn name(&self, index: usize) -> &'a str {
        match self.tokens.get(index) {
            Some(token) if token.kind == Kind::Text => {
                self.text.get(token.inside(self.text)).unwrap_or_default()
            }
            Some(token) => token.text(self.text),
            None => "",
        }
    }

    /// The keys that the innermost map has, but for the one at the cursor.
    pub fn keys(&self) -> Vec<&'a str> {
        let Some(start) = self.open.last() else { return Vec::new() };
        let mut depth = 0_usize;
        let mut found = Vec::new();
        for index in start + 1..self.tokens.len() {
            match self.kind(index) {
                Some(Kind::Open) => depth += 1,
                Some(Kind::Close) if depth == 0 => break,
                Some(Kind::Close) => depth -= 1,
                _ if depth > 0 => {}
                _ => {
                    let here = self.touched == self.tokens.get(index - 1).copied();
                    if self.word(index) == ":" && !here {
                        found.push(self.name(index - 1));
                    }
                }
            }
        }
        found
    }

    /// What the string at the cursor means, if anything.
    pub fn role(&self) -> Option<Role> {
        if self.before.checked_sub(1).is_some_and(|last| self.word(last) == "import") {
            return Some(Role::Module);
        }
        let level = match self.open.last() {
            Some(index) if self.word(*index) == "[" => {
                self.level_outside_lists(self.open.len() - 1)?
            }
            Some(_) => self.open.len() - 1,
            None => return None,
        };
        if let Some(call) = self.called(level) {
            return match call {
                "rebuild" | "archive" => Some(Role::Source),
                "prev" => Some(Role::Package),
                "dir" => Some(Role::Folder),
                "file" => Some(Role::File),
                _ => None,
            };
        }
        match (self.owner(level)?, self.key(level)?) {
            (Owner::Package, "build_depends")
            | (Owner::Part("binaries"), "depends")
            | (Owner::Part("recipe"), "needs") => Some(Role::Dependencies),
            (Owner::Package, "from_seed") => Some(Role::Binary),
            (Owner::Package, "patches") => Some(Role::File),
            (Owner::Package, "root") => Some(Role::Root),
            (Owner::Package, "architectures") => Some(Role::Architecture),
            _ => None,
        }
    }

    /// Whether the word or string at the cursor is a key that has its `:`.
    pub fn is_key(&self) -> bool {
        self.word(self.before + 1) == ":"
    }
}

/// The name of a dependency that a byte of its text lies in, and where: the characters that
/// names are made of, up to a version or an architecture.
pub fn dependency_at(text: &str, at: usize) -> Range<usize> {
    let at = at.min(text.len());
    let begins = |c: char| matches!(c, ',' | '|' | '\n');
    let before = text.get(..at).unwrap_or_default();
    let start = before.rfind(begins).map_or(0, |found| found + 1);
    let start = start + before[start..].len() - before[start..].trim_start().len();
    let rest = &text[start..];
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let end = start + rest.find(|c| !named(c)).unwrap_or(rest.len());
    if at > end { at..at } else { start..end }
}

/// The names that a text defines for itself, with the byte of each: functions, variables,
/// imported modules.
pub fn definitions(text: &str) -> Vec<(&str, usize, Definition<'_>)> {
    let tokens: Vec<Token> = tokens(text).into_iter().filter(|token| !token.is_trivia()).collect();
    let mut found = Vec::new();
    for (index, pair) in tokens.windows(2).enumerate() {
        let [keyword, name] = pair else { continue };
        if keyword.kind != Kind::Word || name.kind != Kind::Word {
            continue;
        }
        let definition = match keyword.text(text) {
            "fn" => Definition::Function,
            "let" | "const" => Definition::Variable,
            "as" => match index.checked_sub(1).map(|at| tokens[at]) {
                Some(path) if path.kind == Kind::Text => {
                    Definition::Module(text.get(path.inside(text)).unwrap_or_default())
                }
                _ => continue,
            },
            _ => continue,
        };
        found.push((name.text(text), name.start, definition));
    }
    found
}

/// What a name of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definition<'a> {
    /// `fn NAME`
    Function,
    /// `let NAME`, `const NAME`
    Variable,
    /// `import "PATH" as NAME`
    Module(&'a str),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A text with the cursor at `‸`.
    fn at<R>(text: &str, read: impl FnOnce(&Cursor<'_>) -> R) -> R {
        let offset = text.find('‸').expect("a cursor");
        let text = text.replacen('‸', "", 1);
        read(&Cursor::at(&text, offset))
    }

    #[track_caller]
    fn place(text: &str, expected: Place<'_>) {
        at(text, |cursor| assert_eq!(cursor.place(), expected, "{text}"));
    }

    #[test]
    fn keys_are_told_from_values() {
        use Owner::{Package, Part};
        use Place::{Key, Value};
        place("package(#{‸", Key(Package));
        place("package(#{ name: \"a\", bu‸ })", Key(Package));
        place("x.with(#{\n  // all\n  ‸\n})", Key(Package));
        place("[a, x.add(#{a: [1, 2], ‸})]", Key(Package));
        place("package(#{ build: ‸", Value);
        place("package(#{ build: deb‸", Value);
        place("package(#{ changes: #{ ‸", Key(Part("changes")));
        place("package(#{ \"binaries\": [#{a: 1}, #{ n‸", Key(Part("binaries")));
        place("recipe(#{ ne‸", Key(Part("recipe")));
        place("other(#{ ‸", Value);
        place("‸", Value);
        place("let x = ‸;", Value);
        place("`a ${package(#{‸})}`", Key(Package));
    }

    #[test]
    fn words_behind_periods_and_colons_belong_to_what_is_before() {
        place("release.‸", Place::Parameter);
        place("release.open‸stack", Place::Parameter);
        place("`1~${release.‸}`", Place::Parameter);
        place("prev(\"a\").wi‸", Place::Method);
        place("openstack::‸", Place::Module("openstack"));
    }

    #[test]
    fn strings_mean_what_their_place_says() {
        let role = |text: &str, expected| {
            at(text, |cursor| assert_eq!(cursor.role(), expected, "{text}"));
        };
        role("package(#{ build_depends: [\"a\", \"li‸", Some(Role::Dependencies));
        role("package(#{ build_depends: \"li‸\" })", Some(Role::Dependencies));
        role("rebuild([\"a\", \"b‸\"])", Some(Role::Source));
        role("rebuild(\"b‸\")", Some(Role::Source));
        role("package(#{ source: dir(\"sr‸", Some(Role::Folder));
        role("package(#{ binaries: [#{ depends: [\"‸\"] }] })", Some(Role::Dependencies));
        role("import \"lib/‸\" as x;", Some(Role::Module));
        role("package(#{ name: \"li‸\" })", None);
        role("package(#{ env: #{ build_depends: \"li‸\" } })", None);
        role("\"‸\"", None);
    }

    #[test]
    fn keys_that_are_there_are_known_before_and_behind() {
        at("package(#{ name: \"a\", ‸ source: dir(\"b\"), env: #{ x: 1 } })", |cursor| {
            assert_eq!(cursor.keys(), ["name", "source", "env"]);
        });
        at("package(#{ na‸: \"a\", b: 1 })", |cursor| assert_eq!(cursor.keys(), ["b"]));
    }

    #[test]
    fn the_name_of_a_dependency_ends_before_its_version() {
        let check = |text: &str, expected: &str| {
            let at = text.find('‸').expect("a cursor");
            let text = text.replacen('‸', "", 1);
            assert_eq!(&text[dependency_at(&text, at)], expected, "{text}");
        };
        check("libx‸ml2-dev (>= 2)", "libxml2-dev");
        check("a (>= 2), b‸ | c", "b");
        check("a | ‸", "");
        check("a (>= ‸2)", "");
        check("a:any‸", "");
        check("‸", "");
    }

    #[test]
    fn comments_mean_nothing() {
        assert!(at("// pack‸", |cursor| cursor.in_comment()));
        assert!(at("/* ‸ */", |cursor| cursor.in_comment()));
        assert!(!at("/* */‸", |cursor| cursor.in_comment()));
    }

    proptest! {
        #[test]
        fn any_text_has_some_surroundings(
            text in "[a.:,\"`#{}()\\[\\]$é /*\n]{0,40}|(package\\(#\\{|build_depends: |\"|\\[|,|a){0,9}",
            at in 0..60_usize,
        ) {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            let cursor = Cursor::at(&text, at.unwrap_or(0));
            let _ = (cursor.place(), cursor.role(), cursor.keys(), cursor.is_key());
            let partial = cursor.partial();
            prop_assert!(text.get(partial).is_some());
            if let Some((content, start, within)) = cursor.string() {
                prop_assert!(text[start..].starts_with(content));
                prop_assert!(content.get(dependency_at(content, within)).is_some());
            }
        }
    }
}

//! From tokens to a document: brackets, the items between them, statements.

use super::print::{Doc, Line};
use super::space::{Part, is_apart, parts};
use crate::spec::syntax::{Kind, Token, tokens};

/// How wide the arguments may be that stand before one which is broken alone.
const MAX_HEAD: usize = 60;

/// The document of a text whose brackets all have their counterpart.
pub fn docs(text: &str) -> Vec<Doc> {
    let tree = Tree::new(text);
    tree.statements(0, tree.tokens.len())
}

struct Tree<'a> {
    text: &'a str,
    /// All but white space.
    tokens: Vec<Token>,
    parts: Vec<Part>,
    /// How many lines end right before each token.
    lines: Vec<usize>,
    /// The bracket that closes the one at an index, and the other way round.
    counterpart: Vec<usize>,
    kinds: Vec<Bracket>,
}

/// What a bracket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    /// Arguments of a call.
    Call,
    /// Anything else in `( )`, or an index.
    Plain,
    /// `[ ]`
    List,
    /// `#{ }`
    Map,
    /// Statements.
    Block,
    /// The cases of a `switch`.
    Switch,
}

/// Whether a comma stands behind an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comma {
    Always,
    IfBroken,
    Never,
}

/// Something between two commas.
struct Item {
    /// Comments on lines of their own before it.
    leading: Vec<usize>,
    /// Its tokens.
    start: usize,
    end: usize,
    /// Whether a comma follows.
    comma: bool,
    /// Comments behind it on its line.
    trailing: Vec<usize>,
}

impl<'a> Tree<'a> {
    fn new(text: &'a str) -> Self {
        let mut found = Vec::new();
        let mut lines = Vec::new();
        let mut ended = 0;
        for token in tokens(text) {
            if token.kind == Kind::Space {
                ended = token.text(text).matches('\n').count();
            } else {
                found.push(token);
                lines.push(std::mem::take(&mut ended));
            }
        }
        lines.push(ended);
        let parts = parts(text, &found);
        let mut tree = Self {
            text,
            counterpart: vec![usize::MAX; found.len()],
            kinds: vec![Bracket::Plain; found.len()],
            tokens: found,
            parts,
            lines,
        };
        tree.match_brackets();
        tree
    }

    fn match_brackets(&mut self) {
        let mut open: Vec<(usize, Bracket)> = Vec::new();
        // What the next braces at this depth hold.
        let mut braces = Bracket::Block;
        for index in 0..self.tokens.len() {
            match self.tokens[index].kind {
                Kind::Open => {
                    self.kinds[index] = self.bracket(index, braces);
                    let body = self.kinds[index] == Bracket::Switch;
                    open.push((index, if body { Bracket::Block } else { braces }));
                    braces = Bracket::Block;
                }
                Kind::Close => {
                    if let Some((start, outer)) = open.pop() {
                        self.counterpart[start] = index;
                        self.counterpart[index] = start;
                        braces = outer;
                    }
                }
                Kind::Word if self.word(index) == "switch" => braces = Bracket::Switch,
                _ => {}
            }
        }
    }

    fn bracket(&self, index: usize, braces: Bracket) -> Bracket {
        let before = self.before(index);
        let named = before.is_some_and(|at| {
            let value = matches!(self.tokens[at].kind, Kind::Close | Kind::Text)
                || self.tokens[at].kind == Kind::Word;
            value && !is_apart(self.text, self.at(at), self.at(index))
        });
        let defined = before.and_then(|at| self.before(at)).is_some_and(|at| self.word(at) == "fn");
        match self.word(index) {
            "#{" => Bracket::Map,
            "{" => braces,
            "(" if named && !defined => Bracket::Call,
            "[" if !named => Bracket::List,
            _ => Bracket::Plain,
        }
    }

    fn word(&self, index: usize) -> &'a str {
        self.tokens.get(index).map_or("", |token| token.text(self.text))
    }

    fn at(&self, index: usize) -> (Token, Part) {
        (self.tokens[index], self.parts[index])
    }

    /// The nearest token before that is no comment.
    fn before(&self, index: usize) -> Option<usize> {
        (0..index).rev().find(|at| !self.tokens[*at].is_trivia())
    }

    fn is_comment(&self, index: usize) -> bool {
        self.tokens.get(index).is_some_and(Token::is_trivia)
    }

    fn is_line_comment(&self, index: usize) -> bool {
        self.tokens.get(index).is_some_and(|token| token.kind == Kind::Comment)
    }

    /// The index behind a token, or behind the bracket that it opens.
    fn behind(&self, index: usize) -> usize {
        match self.counterpart.get(index) {
            Some(close) if self.tokens[index].kind == Kind::Open && *close > index => {
                close.saturating_add(1).min(self.tokens.len())
            }
            _ => index + 1,
        }
    }

    fn written(&self, index: usize) -> Doc {
        Doc::text(self.word(index).trim_end())
    }

    /// A line end before a token, or two where the author left an empty line.
    fn line_before(&self, index: usize) -> Doc {
        Doc::Line(if self.lines[index] > 1 { Line::Blank } else { Line::Hard })
    }

    /// Statements below one another.
    fn statements(&self, start: usize, end: usize) -> Vec<Doc> {
        let mut docs = Vec::new();
        let mut index = start;
        while index < end {
            if index > start {
                docs.push(self.line_before(index));
            }
            if self.is_comment(index) {
                docs.push(self.written(index));
                index += 1;
            } else {
                let next = self.statement_end(index, end);
                docs.extend(self.sequence(index, next));
                index = next;
            }
            while index < end && self.is_comment(index) && self.lines[index] == 0 {
                docs.push(Doc::text(" "));
                docs.push(self.written(index));
                index += 1;
            }
        }
        docs
    }

    /// The index behind the statement that begins at `start`.
    fn statement_end(&self, start: usize, end: usize) -> usize {
        const WITH_BLOCK: [&str; 8] =
            ["if", "for", "fn", "switch", "while", "loop", "private", "{"];
        const GOES_ON: [&str; 5] = ["else", ".", "?.", ";", "catch"];
        let with_block = WITH_BLOCK.contains(&self.word(start));
        let mut index = start;
        while index < end {
            if self.word(index) == ";" {
                return index + 1;
            }
            let body = matches!(self.kinds[index], Bracket::Block | Bracket::Switch);
            let block = self.tokens[index].kind == Kind::Open && body;
            index = self.behind(index);
            let next = (index..end).find(|at| !self.is_comment(*at));
            let goes_on = next.is_some_and(|at| {
                let next = self.word(at);
                let operator = self.tokens[at].kind == Kind::Sign && !matches!(next, "-" | "!");
                GOES_ON.contains(&next) || operator
            });
            if block && with_block && !goes_on {
                return index;
            }
        }
        while end > start + 1 && self.is_comment(index - 1) && index - 1 > start {
            index -= 1;
        }
        index
    }

    /// Tokens one behind the other; where the author ended a line between two, the rest is a
    /// level deeper.
    fn sequence(&self, start: usize, end: usize) -> Vec<Doc> {
        let mut first = Vec::new();
        let mut rest: Option<Vec<Doc>> = None;
        let mut index = start;
        while index < end {
            if index > start {
                if self.is_line_comment(index - 1) || self.breaks(index) {
                    rest.get_or_insert_default().push(Doc::Line(Line::Hard));
                } else if is_apart(self.text, self.at(index - 1), self.at(index)) {
                    rest.as_mut().unwrap_or(&mut first).push(Doc::text(" "));
                }
            }
            let next = self.behind(index);
            let docs = match self.tokens[index].kind {
                Kind::Open if next > index + 1 => self.group(index, next - 1),
                _ => vec![self.written(index)],
            };
            rest.as_mut().unwrap_or(&mut first).extend(docs);
            index = next;
        }
        first.extend(rest.map(Doc::Indent));
        first
    }

    /// Whether a line end that the author put before a token stays.
    fn breaks(&self, index: usize) -> bool {
        let joined = matches!(self.word(index), "else" | "{" | "(" | "[" | "," | ";" | ":" | "=>");
        self.lines[index] > 0 && (!joined || self.is_comment(index - 1))
    }

    /// A bracket and what is in it.
    fn group(&self, open: usize, close: usize) -> Vec<Doc> {
        let (opening, closing) = (self.written(open), self.written(close));
        if open + 1 == close {
            return vec![opening, closing];
        }
        if self.kinds[open] == Bracket::Block {
            let broken = self.lines[open + 1] > 0 || self.lines[close] > 0;
            let line = Doc::Line(if broken { Line::Hard } else { Line::Space });
            let mut inner = vec![line.clone()];
            inner.extend(self.statements(open + 1, close));
            let ends_in_comment = self.is_line_comment(close - 1);
            let last = if ends_in_comment { Doc::Line(Line::Hard) } else { line };
            return vec![Doc::Group(vec![opening, Doc::Indent(inner), last, closing])];
        }
        let (items, dangling) = self.items(open, close);
        if let Some(docs) = self.hugged(open, &items, &dangling) {
            return docs;
        }
        vec![self.listed(open, close, &items, &dangling)]
    }

    /// Items below one another where they do not fit on a line.
    fn listed(&self, open: usize, close: usize, items: &[Item], dangling: &[usize]) -> Doc {
        let kind = self.kinds[open];
        let begins = items.iter().map(|item| item.leading.first().copied().unwrap_or(item.start));
        let by_author = begins.clone().any(|index| self.lines[index] > 0) || self.lines[close] > 0;
        let broken = by_author
            || (open..close).any(|at| self.is_line_comment(at) && self.depth_below(open, at))
            || (matches!(kind, Bracket::Map | Bracket::List)
                && items.len() > 1
                && self.has_long_text(open, close));
        let edge = match kind {
            _ if broken => Line::Hard,
            Bracket::Map | Bracket::Switch => Line::Space,
            _ => Line::Soft,
        };
        let mut inner = vec![Doc::Line(edge)];
        let mut ended = true;
        for (at, item) in items.iter().enumerate() {
            let begin = item.leading.first().copied().unwrap_or(item.start);
            let last = at + 1 == items.len();
            let comma = match kind {
                Bracket::Switch if !item.comma => Comma::Never,
                Bracket::Plain if last => Comma::Never,
                Bracket::Call | Bracket::List | Bracket::Map if last && !broken => Comma::IfBroken,
                _ => Comma::Always,
            };
            let docs = self.item(item, comma);
            let alone = docs.iter().any(Doc::is_forced) || self.has_long_text(item.start, item.end);
            if at == 0 {
                inner.push(Doc::Item);
                inner.extend(docs);
            } else if by_author && self.lines[begin] == 0 && !ended && !alone {
                inner.push(Doc::Joined(docs));
            } else {
                let blank = self.lines[begin] > 1;
                inner.push(Doc::Line(if blank { Line::Blank } else { Line::Space }));
                inner.push(Doc::Item);
                inner.extend(docs);
            }
            ended = alone || item.trailing.last().is_some_and(|at| self.is_line_comment(*at));
        }
        for (at, comment) in dangling.iter().enumerate() {
            if at > 0 || !items.is_empty() {
                inner.push(self.line_before(*comment));
            }
            inner.push(self.written(*comment));
        }
        let edge = if dangling.is_empty() { edge } else { Line::Hard };
        Doc::Group(vec![
            self.written(open),
            Doc::Indent(inner),
            Doc::Line(edge),
            self.written(close),
        ])
    }

    /// An item, its comma and its comments.
    fn item(&self, item: &Item, comma: Comma) -> Vec<Doc> {
        let mut docs = Vec::new();
        for comment in &item.leading {
            docs.push(self.written(*comment));
            docs.push(self.line_before(comment + 1));
        }
        docs.extend(self.sequence(item.start, item.end));
        match comma {
            Comma::Always => docs.push(Doc::text(",")),
            Comma::IfBroken => docs.push(Doc::IfBroken(",")),
            Comma::Never => {}
        }
        for (at, comment) in item.trailing.iter().enumerate() {
            let after = at.checked_sub(1).map(|at| item.trailing[at]);
            docs.push(match after {
                Some(before) if self.is_line_comment(before) => Doc::Line(Line::Hard),
                _ => Doc::text(" "),
            });
            docs.push(self.written(*comment));
        }
        docs
    }

    /// Items of which only the last one is broken, its bracket next to the one around it:
    /// `package(#{`.
    fn hugged(&self, open: usize, items: &[Item], dangling: &[usize]) -> Option<Vec<Doc>> {
        let kind = self.kinds[open];
        let (last, head) = items.split_last()?;
        let plain = |item: &Item| item.leading.is_empty() && item.trailing.is_empty();
        let broken =
            self.lines[open + 1] > 0 || head.iter().any(|item| self.lines[item.end + 1] > 0);
        if !matches!(kind, Bracket::Call | Bracket::List)
            || (kind == Bracket::List && !head.is_empty())
            || broken
            || !dangling.is_empty()
            || !items.iter().all(plain)
        {
            return None;
        }
        let end = last.end - 1;
        let whole = self.counterpart[end] == last.start;
        let hugs = match self.tokens[end].kind {
            Kind::Text => self.word(end).contains('\n') && last.start == end,
            Kind::Close => match self.kinds[self.counterpart[end]] {
                Bracket::Map | Bracket::List => whole,
                Bracket::Block => kind == Bracket::Call,
                Bracket::Call => head.is_empty() && kind == Bracket::Call,
                _ => false,
            },
            _ => false,
        };
        if !hugs {
            return None;
        }
        // A line that the author ended outside the last bracket needs the usual layout.
        if !head.iter().all(|item| self.is_simple(item)) || self.has_own_break(last) {
            return None;
        }
        let mut docs = vec![self.written(open)];
        for item in head {
            docs.extend(self.sequence(item.start, item.end));
            docs.push(Doc::text(", "));
        }
        docs.extend(self.sequence(last.start, last.end));
        docs.push(Doc::text(closing(self.word(open))));
        Some(docs)
    }

    /// Whether an item stays on one short line: told from its tokens alone, so that nothing is
    /// laid out twice.
    fn is_simple(&self, item: &Item) -> bool {
        let tokens = item.start..item.end;
        let wide: usize = tokens.clone().map(|at| self.word(at).chars().count() + 1).sum();
        let plain = |at: usize| {
            !self.is_comment(at)
                && !self.word(at).contains('\n')
                && (at == item.start || self.lines[at] == 0)
                && (self.tokens[at].kind != Kind::Open || self.kinds[at] != Bracket::Block)
        };
        wide <= MAX_HEAD && tokens.clone().all(plain)
    }

    /// Whether a line of an item ends outside all brackets in it.
    fn has_own_break(&self, item: &Item) -> bool {
        let mut index = item.start;
        while index < item.end {
            if index > item.start && (self.is_line_comment(index - 1) || self.breaks(index)) {
                return true;
            }
            index = self.behind(index);
        }
        false
    }

    /// What is between commas, and comments behind the last of it.
    fn items(&self, open: usize, close: usize) -> (Vec<Item>, Vec<usize>) {
        let switch = self.kinds[open] == Bracket::Switch;
        let mut items = Vec::new();
        let mut index = open + 1;
        loop {
            let mut leading = Vec::new();
            while index < close && self.is_comment(index) && self.stands_alone(index) {
                leading.push(index);
                index += 1;
            }
            if index >= close {
                return (items, leading);
            }
            let start = index;
            let mut cased = false;
            while index < close && !self.is_comma(index) {
                cased |= self.word(index) == "=>";
                let body = switch && cased && self.kinds[index] == Bracket::Block;
                let block = self.tokens[index].kind == Kind::Open && body;
                index = self.behind(index);
                if block {
                    break;
                }
            }
            let mut end = index;
            let ends_line = self.stands_alone(end - 1);
            while ends_line && end > start + 1 && self.is_comment(end - 1) {
                end -= 1;
            }
            let comma = index < close && self.is_comma(index);
            let mut trailing = Vec::new();
            if comma {
                trailing.extend(end..index);
                index += 1;
            } else {
                index = end;
            }
            while index < close
                && self.is_comment(index)
                && self.lines[index] == 0
                && self.stands_alone(index)
            {
                trailing.push(index);
                index += 1;
            }
            items.push(Item { leading, start, end, comma, trailing });
        }
    }

    fn is_comma(&self, index: usize) -> bool {
        self.word(index) == "," && self.parts[index] != Part::Inside
    }

    /// Whether a comment ends its line.
    fn stands_alone(&self, index: usize) -> bool {
        self.is_line_comment(index) || self.lines[index + 1] > 0
    }

    /// Whether a token lies in the bracket at `open`, and in none within.
    fn depth_below(&self, open: usize, token: usize) -> bool {
        let mut index = open + 1;
        while index < token {
            let next = self.behind(index);
            if next > token {
                return false;
            }
            index = next;
        }
        true
    }

    /// Whether a string of several lines lies between two tokens.
    fn has_long_text(&self, open: usize, close: usize) -> bool {
        self.tokens[open..close]
            .iter()
            .any(|token| token.kind == Kind::Text && token.text(self.text).contains('\n'))
    }
}

fn closing(open: &str) -> &'static str {
    match open {
        "(" => ")",
        _ => "]",
    }
}

//! Whether enough builders agree on what a release came to.
//!
//! Builders speak of actions, and only words about the same action are held against each other. An
//! action is one of a release's package if the release's own recipe, in a root of exactly the
//! packages that the statement lists, has its id: nobody is believed for that. Where builders have
//! statements of several, those count that were built with what is accepted of the packages that
//! this one needs, and of those the ones made for the release as it is now.

use std::collections::{BTreeMap, BTreeSet};

use super::provenance::statement::{Made, Word};
use crate::base::{ActionId, DerivationId, Sha256};
use crate::graph::Graph;
use crate::graph::derivation::Package;
use crate::realise::action;

/// Names of keys.
pub type Builders = BTreeSet<Sha256>;

/// What is to be made of what builders say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Enough of them say one thing.
    Agreed,
    /// They say one thing, but they are too few.
    TooFew,
    /// They say several things.
    Disagree,
}

impl Verdict {
    /// As one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::TooFew => "too-few",
            Self::Disagree => "disagree",
        }
    }
}

/// What builders say of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The package.
    pub derivation: DerivationId,
    /// Whether it is accepted: all its files are.
    pub verdict: Verdict,
    /// The action that is meant; nothing if nobody speaks of any.
    pub action: Option<ActionId>,
    /// Who speaks of it.
    pub builders: Builders,
    /// The files that it came to.
    pub files: Vec<File>,
    /// Who speaks of others only, built from other inputs.
    pub elsewhere: BTreeMap<ActionId, Builders>,
    /// Who says several things of one action, and so counts for none of them.
    pub torn: Builders,
}

/// What builders say of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Whether it is accepted.
    pub verdict: Verdict,
    /// Who says what, what most say first; nothing for who says that there is none.
    pub said: Vec<(Option<Made>, Builders)>,
}

impl File {
    /// The bytes that are accepted, if any are: it may be agreed that there is no such file.
    pub fn accepted(&self) -> Option<&Made> {
        let first = self.said.first().filter(|_| self.verdict == Verdict::Agreed);
        first.and_then(|(made, _)| made.as_ref())
    }
}

impl Judged {
    /// Who says something other than what is accepted, of whichever file or input. Where nothing is
    /// accepted, nobody dissents: each may be right.
    pub fn dissenters(&self) -> Builders {
        if self.verdict != Verdict::Agreed {
            return Builders::new();
        }
        let others = self.files.iter().flat_map(|file| file.said.iter().skip(1));
        let others = others.flat_map(|(_, builders)| builders);
        let elsewhere = self.elsewhere.values().flatten();
        others.chain(elsewhere).chain(&self.torn).copied().collect()
    }
}

/// What was found out about a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// Its packages, in the order of the graph: what a package needs is before it.
    pub packages: Vec<Judged>,
    /// How many statements are of nothing that the release builds now.
    pub unrelated: usize,
}

/// Judges the packages of a release by what trusted builders say, of whom `need` have to agree.
pub fn judge(graph: &Graph, words: &BTreeSet<Word>, need: usize) -> Quorum {
    let mut of_package: BTreeMap<(&str, &str, &str), Vec<&Word>> = BTreeMap::new();
    for word in words {
        let Word { name, version, architecture, .. } = word;
        of_package.entry((name, version, architecture)).or_default().push(word);
    }
    let mut related = 0;
    let mut judged: BTreeMap<DerivationId, Judged> = BTreeMap::new();
    let mut order = Vec::new();
    for (node, package) in graph.packages() {
        let Package { name, version, architecture, .. } = package;
        let key = (name.as_str(), &**version, architecture.as_str());
        let words = of_package.get(&key).map_or(&[][..], |words| words);
        let is_of = |word: &&&Word| action::id_in(graph, package, &word.root) == word.action;
        let words: Vec<&Word> = words.iter().filter(is_of).copied().collect();
        related += words.len();
        // Only who says something is to be held against it.
        let accepted = match words.is_empty() {
            true => BTreeMap::new(),
            false => accepted(graph, node.id, &judged),
        };
        let fits = |word: &Word| {
            let layers = word.root.iter().flatten();
            let of_needs = layers
                .filter(|one| !package.from_seed.iter().any(|name| name.as_str() == one.name));
            of_needs.into_iter().all(|one| {
                accepted.get(one.name.as_str()).is_none_or(|these| these.contains(&one.sha256))
            })
        };
        let found = judge_one(node.id, &words, need, &fits);
        judged.insert(node.id, found);
        order.push(node.id);
    }
    Quorum {
        packages: order.iter().filter_map(|id| judged.remove(id)).collect(),
        unrelated: words.len() - related,
    }
}

/// The binary packages that are accepted of what a package needs, by name.
fn accepted<'a>(
    graph: &Graph,
    id: DerivationId,
    judged: &'a BTreeMap<DerivationId, Judged>,
) -> BTreeMap<&'a str, BTreeSet<Sha256>> {
    let mut accepted: BTreeMap<&str, BTreeSet<Sha256>> = BTreeMap::new();
    let needs = graph.closure(id).into_iter().filter(|need| *need != id);
    let agreed = needs.filter_map(|need| judged.get(&need));
    for file in agreed.filter(|one| one.verdict == Verdict::Agreed).flat_map(|one| &one.files) {
        if let (Some((name, _)), Some(made)) = (file.name.split_once('_'), file.accepted())
            && file.name.ends_with(".deb")
        {
            accepted.entry(name).or_default().insert(made.sha256);
        }
    }
    accepted
}

/// The files that a builder says an action came to.
type Outputs = BTreeMap<String, Made>;

fn judge_one(
    derivation: DerivationId,
    words: &[&Word],
    need: usize,
    fits: &dyn Fn(&Word) -> bool,
) -> Judged {
    let mut of_action: BTreeMap<ActionId, Vec<&Word>> = BTreeMap::new();
    for word in words {
        of_action.entry(word.action).or_default().push(word);
    }
    let mut meant: Vec<ActionId> = of_action.keys().copied().collect();
    for prefers in [fits, &|word: &Word| word.derivation == derivation] {
        let preferred = |action: &ActionId| of_action[action].iter().any(|word| prefers(word));
        if meant.iter().any(preferred) {
            meant.retain(preferred);
        }
    }
    let of_meant = meant.iter().map(|action| (*action, compare(&of_action[action], need)));
    let mut compared: Vec<(ActionId, Compared)> = of_meant.collect();
    // What is accepted first, else what most speak of; the id decides what nothing else does.
    compared.sort_by_key(|(action, it)| (it.verdict, usize::MAX - it.builders.len(), *action));
    let agreed = compared.iter().filter(|(_, it)| it.verdict == Verdict::Agreed).count();
    let several = compared.len();
    let Some((action, first)) = compared.into_iter().next() else {
        let (builders, files, elsewhere, torn) = Default::default();
        let (verdict, action) = (Verdict::TooFew, None);
        return Judged { derivation, verdict, action, builders, files, elsewhere, torn };
    };
    let Compared { verdict, builders, files, torn } = first;
    let verdict = if several > 1 && agreed != 1 { Verdict::Disagree } else { verdict };
    let mut elsewhere: BTreeMap<ActionId, Builders> = BTreeMap::new();
    for word in words.iter().filter(|word| !builders.contains(&word.builder)) {
        elsewhere.entry(word.action).or_default().insert(word.builder);
    }
    Judged { derivation, verdict, action: Some(action), builders, files, elsewhere, torn }
}

/// What builders say of one action.
struct Compared {
    verdict: Verdict,
    builders: Builders,
    files: Vec<File>,
    torn: Builders,
}

fn compare(words: &[&Word], need: usize) -> Compared {
    let mut said: BTreeMap<Sha256, BTreeSet<&Outputs>> = BTreeMap::new();
    for word in words {
        said.entry(word.builder).or_default().insert(&word.outputs);
    }
    let builders: Builders = said.keys().copied().collect();
    let torn: Builders =
        said.iter().filter(|(_, these)| these.len() > 1).map(|(builder, _)| *builder).collect();
    let names: BTreeSet<&String> = said.values().flatten().flat_map(|these| these.keys()).collect();
    let file = |name: &String| {
        let mut of_file: BTreeMap<Option<Made>, Builders> = BTreeMap::new();
        for (builder, these) in said.iter().filter(|(builder, _)| !torn.contains(builder)) {
            let made = these.first().and_then(|outputs| outputs.get(name)).copied();
            of_file.entry(made).or_default().insert(*builder);
        }
        let mut said: Vec<_> = of_file.into_iter().collect();
        said.sort_by_key(|(made, builders)| (usize::MAX - builders.len(), *made));
        let enough = said.iter().filter(|(_, builders)| builders.len() >= need).count();
        let verdict = match (enough, said.len()) {
            (1, _) => Verdict::Agreed,
            (0, 0 | 1) => Verdict::TooFew,
            _ => Verdict::Disagree,
        };
        File { name: name.clone(), verdict, said }
    };
    let files: Vec<File> = names.into_iter().map(file).collect();
    let verdict = files.iter().map(|file| file.verdict).max().unwrap_or(Verdict::TooFew);
    Compared { verdict, builders, files, torn }
}

#[cfg(test)]
mod tests;

use super::*;
use crate::base::Digest;
use crate::realise::action::Listed;

const NEED: usize = 2;

fn builder(name: char) -> Sha256 {
    Sha256::of(name.to_string().as_bytes())
}

/// What builder `name` says that `action` came to: a file and a letter for its bytes, for each.
fn word(name: char, action: &str, files: &str) -> Word {
    let made = |text: &str| {
        let (file, bytes) = text.split_once('=').expect("a file and its bytes");
        let (sha256, blake3) = (Sha256::of(bytes.as_bytes()), Digest::of(bytes.as_bytes()));
        (file.to_owned(), Made { sha256, blake3 })
    };
    Word {
        builder: builder(name),
        action: ActionId::of(action.as_bytes()),
        derivation: DerivationId::of(b"derivation"),
        name: "x".to_owned(),
        version: "1".to_owned(),
        architecture: "amd64".to_owned(),
        root: vec![vec![Listed {
            name: action.to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            sha256: Sha256::of(action.as_bytes()),
        }]],
        outputs: files.split(' ').map(made).collect(),
    }
}

fn judged(words: &[Word]) -> Judged {
    let words: Vec<&Word> = words.iter().collect();
    judge_one(DerivationId::of(b"derivation"), &words, NEED, &|_| true)
}

/// These words come to this: the verdict, then who dissents.
#[track_caller]
fn check(words: &[Word], expected: &str) {
    let judged = judged(words);
    let letter = |id: &Sha256| ('a'..='z').find(|name| builder(*name) == *id);
    let mut names: Vec<char> = judged.dissenters().iter().filter_map(letter).collect();
    names.sort_unstable();
    let told = format!("{} {}", judged.verdict.as_str(), String::from_iter(names));
    assert_eq!(told.trim(), expected, "{judged:#?}");
}

#[test]
fn enough_builders_have_to_say_the_same_of_every_file() {
    let (a, b, c) = ('a', 'b', 'c');
    check(&[], "too-few");
    check(&[word(a, "1", "f=x")], "too-few");
    check(&[word(a, "1", "f=x"), word(b, "1", "f=x")], "agreed");
    check(&[word(a, "1", "f=x"), word(b, "1", "f=y")], "disagree");
    check(&[word(a, "1", "f=x"), word(b, "1", "f=y"), word(c, "1", "f=x")], "agreed b");
    check(&[word(a, "1", "f=x"), word(b, "1", "f=y"), word(c, "1", "f=z")], "disagree");
    // Of two files, too: one that few have, one that is not as others have it.
    check(&[word(a, "1", "f=x g=x"), word(b, "1", "f=x g=y")], "disagree");
    check(&[word(a, "1", "f=x g=x"), word(b, "1", "f=x")], "disagree");
    check(&[word(a, "1", "f=x g=x"), word(b, "1", "f=x"), word(c, "1", "f=x")], "agreed a");
    // As many on either side.
    let sides = [word(a, "1", "f=x"), word(b, "1", "f=x"), word(c, "1", "f=y")];
    check(&[&sides[..], &[word('d', "1", "f=y")]].concat(), "disagree");
}

#[test]
fn a_builder_counts_once_and_not_at_all_if_it_contradicts_itself() {
    let (a, b, c) = ('a', 'b', 'c');
    check(&[word(a, "1", "f=x"), word(a, "1", "f=x"), word(a, "1", "f=x")], "too-few");
    let torn = [word(a, "1", "f=x"), word(a, "1", "f=y"), word(b, "1", "f=x")];
    check(&torn, "too-few");
    check(&[&torn[..], &[word(c, "1", "f=x")]].concat(), "agreed a");
    assert_eq!(judged(&torn).torn, Builders::from([builder(a)]));
}

#[test]
fn only_words_of_the_same_action_agree() {
    let (a, b, c) = ('a', 'b', 'c');
    check(&[word(a, "1", "f=x"), word(b, "2", "f=x")], "disagree");
    check(&[word(a, "1", "f=x"), word(b, "1", "f=x"), word(c, "2", "f=x")], "agreed c");
    // Who spoke of another one as well is no dissenter.
    let both = [word(a, "1", "f=x"), word(b, "1", "f=x"), word(b, "2", "f=z")];
    check(&both, "agreed");
    let twice = [word(a, "1", "f=x"), word(b, "1", "f=x"), word(a, "2", "f=z")];
    check(&[&twice[..], &[word(b, "2", "f=z")]].concat(), "disagree");
}

#[test]
fn of_several_actions_those_count_that_fit_what_is_accepted_and_the_release_as_it_is() {
    let words = ["1", "2"].map(|action| [word('a', action, "f=x"), word('b', action, "f=x")]);
    let words = words.concat();
    let words: Vec<&Word> = words.iter().collect();
    let id = DerivationId::of(b"derivation");
    let fits = |word: &Word| word.root[0][0].name == "2";
    let judged = judge_one(id, &words, NEED, &fits);
    assert_eq!(judged.verdict, Verdict::Agreed);
    assert_eq!(judged.action, Some(ActionId::of(b"2")));

    let older = |word: &&Word| Word { derivation: DerivationId::of(b"old"), ..(*word).clone() };
    let words: Vec<Word> =
        words[..2].iter().map(older).chain(words[2..].iter().map(|word| (*word).clone())).collect();
    let words: Vec<&Word> = words.iter().collect();
    let judged = judge_one(id, &words, NEED, &|_| true);
    assert_eq!((judged.verdict, judged.action), (Verdict::Agreed, Some(ActionId::of(b"2"))));
}

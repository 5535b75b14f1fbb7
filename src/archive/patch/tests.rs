use std::fs;
use std::process::{Command, Stdio};

use super::*;

const TEN: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n";

fn files(known: &[(&str, Option<&str>)]) -> Files {
    let owned = |text: &str| text.as_bytes().to_vec();
    known.iter().map(|(path, text)| ((*path).to_owned(), text.map(owned))).collect()
}

/// What the program makes of it: the files that there are afterwards, if it takes the patch.
fn program(patch: &str, before: &Files) -> Option<Files> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in before {
        if let Some(text) = text {
            fs::write(folder.path().join(path), text).unwrap();
        }
    }
    fs::write(folder.path().join(".patch"), patch).unwrap();
    let status = Command::new("patch")
        .args(["--strip=1", "--fuzz=0", "--forward", "--batch", "--remove-empty-files"])
        .args(["--no-backup-if-mismatch", "--reject-file=-", "--input=.patch"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let text = |path: &String| (path.clone(), fs::read(folder.path().join(path)).ok());
    status.success().then(|| before.keys().map(text).collect())
}

#[track_caller]
fn check(patch: &str, before: &[(&str, Option<&str>)]) -> Tried {
    let before = files(before);
    let mut after = before.clone();
    let tried = Patch::parse(patch.as_bytes()).map_or(Tried::Unclear, |one| one.apply(&mut after));
    match (&tried, program(patch, &before)) {
        (Tried::Applies, Some(theirs)) => assert_eq!(after, theirs, "{patch}"),
        (Tried::Fails(_), None) => assert_eq!(after, before),
        (Tried::Unclear, _) => {}
        (ours, theirs) => panic!("{ours:?}, but the program: {theirs:?}\n{patch}"),
    }
    tried
}

fn of(file: &str, hunks: &str) -> String {
    format!("--- a/{file}\t2026-01-01\n+++ b/{file}\n{hunks}")
}

/// What the program `diff` says of two texts.
fn difference(old: &str, new: &str, context: u8) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old"), old).unwrap();
    fs::write(folder.path().join("new"), new).unwrap();
    let output = Command::new("diff")
        .args([&format!("-U{context}"), "--label=a/x", "--label=b/x", "old", "new"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn mismatch(tried: Tried) -> (String, usize, Why) {
    match tried {
        Tried::Fails(Mismatch { file, line, why, .. }) => (file, line, why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_applies_gives_what_the_program_makes_of_it() {
    for hunks in [
        "@@ -1,2 +1,3 @@\n one\n+1.5\n two\n",
        // Another place than it says, before and after.
        "@@ -6,3 +6,2 @@\n two\n-three\n four\n",
        "@@ -1,2 +1,2 @@\n-one\n+1\n two\n",
        "@@ -6,2 +6,2 @@\n nine\n-ten\n+10\n",
        "@@ -1 +1 @@\n-seven\n+7\n",
        // Two hunks, the second as far off as the first.
        "@@ -4,3 +4,3 @@\n three\n-four\n+4\n five\n@@ -9,3 +9,3 @@\n eight\n-nine\n+9\n ten\n",
        "@@ -2,0 +3 @@\n+2.5\n",
    ] {
        assert_eq!(check(&of("x", hunks), &[("x", Some(TEN))]), Tried::Applies, "{hunks}");
    }
    let made = "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+x\n";
    assert_eq!(check(made, &[("new", None)]), Tried::Applies);
    let gone = "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n";
    assert_eq!(check(gone, &[("x", Some("x\n"))]), Tried::Applies);
}

#[test]
fn what_cannot_apply_is_told_with_its_line() {
    let wrong = of("x", "@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n@@ -5 +5 @@\n-fife\n+5\n");
    let tried = check(&wrong, &[("x", Some(TEN))]);
    let Tried::Fails(Mismatch { hunk, .. }) = &tried else { panic!("{tried:?}") };
    assert_eq!(*hunk, ["@@ -5 +5 @@", "-fife", "+5"]);
    assert_eq!(mismatch(tried), ("x".to_owned(), 8, Why::NotFound));

    let twice = of("x", "@@ -2,2 +2,2 @@\n-zwei\n+two\n three\n");
    assert_eq!(mismatch(check(&twice, &[("x", Some(TEN))])).2, Why::Applied);
    assert_eq!(mismatch(check(&twice, &[("x", None)])), ("x".to_owned(), 1, Why::NoFile));
    let made = "text before\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n";
    assert_eq!(mismatch(check(made, &[("x", Some(TEN))])), ("x".to_owned(), 2, Why::There));
    // Nothing unchanged after it: it is for the end of the file.
    let end = of("x", "@@ -2,2 +2,2 @@\n two\n-three\n+3\n");
    assert_eq!(mismatch(check(&end, &[("x", Some(TEN))])).2, Why::NotFound);
    // Lines are looked for behind those of the hunk before.
    let back = of("x", "@@ -8 +8 @@\n-eight\n+8\n@@ -9 +9 @@\n-two\n+2\n");
    assert_eq!(mismatch(check(&back, &[("x", Some(TEN))])).2, Why::NotFound);
}

#[test]
fn what_is_no_plain_text_is_left_to_the_program() {
    for patch in [
        "diff --git a/x b/y\nrename from x\nrename to y\n",
        "--- a/x\r\n+++ b/x\r\n@@ -1 +1 @@\r\n-a\r\n+b\r\n",
        "--- a/x\n+++ b/x\n@@ -1,9 +1 @@\n-cut\n",
        "--- a/x\n+++ b/x\n",
        "--- x\n+++ x\n@@ -1 +1 @@\n-a\n+b\n",
        "--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n",
        "@@ -1 +1 @@\n-a\n+b\n",
        "@@ -99999999999999999999 +1 @@\n",
        "",
    ] {
        assert!(Patch::parse(patch.as_bytes()).is_none(), "{patch}");
    }
}

#[test]
fn one_that_builds_on_another_is_tried_on_what_that_made() {
    let mut state = files(&[("x", Some(TEN))]);
    for (hunks, applies) in [
        ("@@ -2 +2 @@\n-two\n+zwei\n", true),
        ("@@ -2 +2 @@\n-zwei\n+deux\n", true),
        ("@@ -2 +2 @@\n-two\n+2\n", false),
    ] {
        let text = of("x", hunks);
        let tried = Patch::parse(text.as_bytes()).unwrap().apply(&mut state);
        assert_eq!(tried == Tried::Applies, applies, "{hunks}");
    }
}

mod random {
    use proptest::prelude::*;

    use super::super::*;

    proptest! {
        #[test]
        fn any_bytes_are_taken(text in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(patch) = Patch::parse(&text) {
                let mut files: Files =
                    patch.names().into_iter().map(|name| (name.to_owned(), None)).collect();
                patch.apply(&mut files);
            }
        }

        /// Two texts of few different lines, and what `diff` says of them, tried on a third.
        #[test]
        fn what_fails_here_fails_there(
            texts in prop::collection::vec(prop::collection::vec(0..4_u8, 0..14), 3),
            context in 0..4_u8,
        ) {
            let text = |lines: &[u8]| -> String {
                lines.iter().map(|line| format!("{line}\n")).collect()
            };
            let (old, new, other) = (text(&texts[0]), text(&texts[1]), text(&texts[2]));
            prop_assume!(old != new && !old.is_empty() && !new.is_empty() && !other.is_empty());
            let patch = super::difference(&old, &new, context);
            for before in [&old, &other] {
                let mut files = super::files(&[("x", Some(before))]);
                let parsed = Patch::parse(patch.as_bytes());
                prop_assert!(parsed.is_some(), "{}", patch);
                let Some(parsed) = parsed else { continue };
                let known = files.clone();
                if let Tried::Fails(_) = parsed.apply(&mut files) {
                    prop_assert!(*before != old, "{}", patch);
                    prop_assert!(super::program(&patch, &known).is_none(), "{}{}", before, patch);
                }
            }
        }
    }
}

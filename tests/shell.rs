//! Going into the sandboxes of failed builds, and taking what was changed there home as a patch.
//!
//! The store is shared by all tests and stays, so what must be built anew holds a word that was
//! never there before.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::process::{Command, Stdio};

use program::{PROGRAM, Release, Run, shared_store, unique};

/// A package that fails until its source is mended, whose build also makes and changes files.
fn broken() -> Release {
    let release = Release::copy_of("specs/single");
    fs::remove_file(release.path("hello.rhai")).unwrap();
    release.write("src/broken/main.c", "int main(void) { return answer(); }\n");
    release.write("src/broken/version.h", "unset\n");
    release.write("src/broken/old.txt", "old\n");
    let mark = unique();
    release.write(
        "packages/broken.rhai",
        &format!(
            "// A comment of its author's.\npackage(#{{\n    name: \"broken\",\n    version: \"1.0\",\n    \
             summary: \"Test\",\n    license: \"MIT\",\n    changes: #{{ date: \"2026-11-22\", text: \
             \"{mark}\" }},\n    source: dir(\"src/broken\"), // where it is\n    build: script(#\"\n\
             echo made > made.txt\necho set > version.h\nexport KEPT=here\n\
             cc -Werror=implicit-function-declaration -o broken main.c\n\
             install -D broken \"$DESTDIR/usr/bin/broken\"\n\"#),\n}})\n"
        ),
    );
    release
}

fn shell(release: &Release, arguments: &[&str], input: &str) -> Run {
    let mut child = Command::new(PROGRAM)
        .arg("shell")
        .arg(release.path(""))
        .arg("broken")
        .arg("--store")
        .arg(shared_store())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who does not read it may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_failed_build_is_entered_mended_and_taken_home() {
    let release = broken();
    let name = unique();
    let spec = fs::read_to_string(release.path("packages/broken.rhai")).unwrap();
    release.write("packages/never.rhai", &spec.replace("\"broken\"", &format!("\"{name}\"")));
    let run = release.run("shell", &[&name]).ends_with(2);
    assert!(run.err.contains("no sandbox of a failed build of") && run.err.contains("--fresh"));
    fs::remove_file(release.path("packages/never.rhai")).unwrap();

    let run = release.run("build", &[]).ends_with(1);
    assert!(run.err.contains("enter   perestroika shell"), "{}", run.err);

    // As it was left: files, folder, id, environment, no network; nothing of the host's.
    let look = "pwd; id -u; cat made.txt version.h; echo $DEB_BUILD_OPTIONS $HOME; \
                getent hosts example.org || echo no network; touch /usr/x || echo read-only; \
                cat /run/perestroika/build >/dev/null && echo inputs; exit 7";
    let run = shell(&release, &["--", "sh", "-c", look], "").ends_with(7);
    let expected = "/build/reproducible-path/broken-1.0\n1000\nmade\nset\n";
    assert!(run.out.starts_with(expected), "{}", run.out);
    assert!(run.out.contains("/nonexistent\nno network\nread-only\ninputs\n"), "{}", run.out);
    assert!(run.err.contains("Read-only file system"), "{}", run.err);

    // Streams are handed through, apart; a shell reads its commands.
    let run = shell(&release, &["--", "sh", "-c", "cat; echo bad >&2"], "given").ends_with(0);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("given", "bad\n"));
    // Into one file too (`> log 2>&1`): neither takes back what the other wrote.
    let (mut log, times) = (tempfile::tempfile().unwrap(), 4);
    for _ in 0..times {
        let mut both = Command::new(PROGRAM);
        both.arg("shell").arg(release.path("")).args(["broken", "--store"]).arg(shared_store());
        both.args(["--", "sh", "-c", "echo good; echo bad >&2; echo better"]);
        both.stdout(log.try_clone().unwrap()).stderr(log.try_clone().unwrap());
        assert!(both.stdin(Stdio::null()).status().unwrap().success());
    }
    log.rewind().unwrap();
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    assert_eq!(text.len(), times * "good\nbad\nbetter\n".len(), "{text}");
    let run = shell(&release, &[], "echo $((6 * 7))\nexit 9\n").ends_with(9);
    assert_eq!(run.out, "42\n");
    let run = shell(&release, &["--json", "--", "sh", "-c", "echo out; exit 3"], "").ends_with(3);
    let document = run.json();
    assert_eq!((&document["exit"], &document["output"]), (&3.into(), &"out\n".into()));
    shell(&release, &["--json"], "").ends_with(2);
    let run = shell(&release, &["--", "no-such-program"], "").ends_with(127);
    assert!(run.err.contains("no-such-program"), "{}", run.err);

    // Experiments with the root stay among themselves.
    let write = "touch /usr/mine && rm /usr/bin/perl";
    shell(&release, &["--writable", "--", "sh", "-c", write], "").ends_with(0);
    shell(&release, &["--writable", "--", "test", "-e", "/usr/mine"], "").ends_with(0);
    shell(&release, &["--", "test", "-e", "/usr/mine"], "").ends_with(1);
    shell(&release, &["--", "perl", "-e", "1"], "").ends_with(0);

    // Before the build: prepared, not run.
    let look = "pwd; cat version.h; test -e made.txt || echo not run; ls debian/changelog";
    let run = shell(&release, &["--fresh", "--", "sh", "-c", look], "").ends_with(0);
    let expected = "/build/reproducible-path/broken-1.0\nunset\nnot run\ndebian/changelog\n";
    assert_eq!(run.out, expected, "{}", run.err);
    let run = shell(&release, &["--installed", "--", "true"], "").ends_with(2);
    assert!(run.err.contains("not built yet: broken"), "{}", run.err);

    // Nothing changed: no patch. What only the build changed is none either.
    let patch = |arguments: &[&str]| release.run("patch", &[&["broken"], arguments].concat());
    let run = patch(&["fix.patch"]).ends_with(2);
    assert!(run.err.contains("nothing was changed in the sandbox"), "{}", run.err);
    shell(&release, &["--", "sh", "-c", "echo x >> version.h; echo y >> made.txt"], "");
    let run = patch(&["fix.patch"]).ends_with(2);
    assert!(run.err.contains("left out `version.h`: the build itself changes it"), "{}", run.err);
    assert!(run.err.contains("no file of `broken`'s source was changed"), "{}", run.err);

    // Mended, with the build's own files changed beside it and some new ones.
    let mend = "set -e\necho 'int answer(void);' > main.h\n\
        printf '#include \"main.h\"\\nint answer(void) { return 0; }\\n' | cat - main.c > x && mv x main.c\n\
        rm old.txt\ncc -o broken main.c\n./broken\n";
    shell(&release, &["--", "sh", "-c", mend], "").ends_with(0);
    let run = patch(&["fix.patch", "-n"]).ends_with(0);
    assert!(run.err.contains("left out new `main.h`: `--new PATH` takes one in"), "{}", run.err);
    assert!(!release.path("patches").exists());
    let spec = fs::read_to_string(release.path("packages/broken.rhai")).unwrap();
    let run = patch(&["fix.patch", "--new", "main.h"]).ends_with(0);
    let text = fs::read_to_string(release.path("patches/broken/fix.patch")).unwrap();
    for part in [
        "--- a/main.c\n+++ b/main.c\n",
        "--- /dev/null\n+++ b/main.h\n@@ -0,0 +1 @@\n+int answer(void);\n",
        "--- a/old.txt\n+++ /dev/null\n",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    assert!(!text.contains("version.h") && !text.contains("made.txt"), "{text}");
    assert!(run.out.contains("named it in "), "{}", run.out);
    let changed = fs::read_to_string(release.path("packages/broken.rhai")).unwrap();
    let line = "    patches: [\"patches/broken/fix.patch\"],\n";
    assert_eq!(changed, spec.replace("\n})\n", &format!("\n{line}}})\n")));
    patch(&["fix.patch"]).ends_with(2);
    let run = patch(&["other.patch"]).ends_with(2);
    assert!(run.err.contains("of another recipe"), "{}", run.err);

    // With the patch it is built; then it can be tried out, installed in a clean root.
    release.run("build", &[]).ends_with(0);
    let look = "broken && dpkg-query -W broken && test ! -e /build/reproducible-path && \
                which cc >/dev/null && id -u";
    let run = shell(&release, &["--installed", "--", "sh", "-c", look], "").ends_with(0);
    assert_eq!(run.out, "broken\t1.0\n1000\n");
}

#[test]
fn a_person_gets_a_terminal_of_the_guest() {
    let release = broken();
    release.run("build", &[]).ends_with(1);
    let folder = release.path("").display().to_string();
    let store = shared_store().display().to_string();
    let inner = format!("stty rows 33 cols 77; {PROGRAM} shell {folder} broken --store {store}");
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &inner, "/dev/null"])
        .env("TERM", "vt100")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut shown = String::new();
    // A key means something only once whoever is to get it is there.
    let mut type_after = |wanted: &str, keys: &str| {
        let from = shown.len();
        let mut some = [0; 1000];
        while !shown[from..].contains(wanted) {
            let count = output.read(&mut some).unwrap();
            assert_ne!(count, 0, "no `{wanted}` in\n{shown}");
            shown.push_str(&String::from_utf8_lossy(&some[..count]));
        }
        input.write_all(keys.as_bytes()).unwrap();
    };
    type_after("broken-1.0$ ", "tty; stty size; echo term $TERM\n");
    type_after("term vt100", "sh -c 'echo re\"\"ady; exec sleep 1000'\n");
    // The command's own echo has it in two pieces.
    type_after("ready", "\u{1a}");
    type_after("Stopped", "disown -a; exit 5\n");
    drop(input);
    output.read_to_string(&mut shown).unwrap();
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(5), "{shown}");
    for part in ["/dev/pts/0", "33 77", "[1]+  Stopped"] {
        assert!(shown.contains(part), "no `{part}` in\n{shown}");
    }
}

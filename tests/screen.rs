//! What is seen of a build: on a terminal of any size, after interrupts, in a log, by a program.
//! The terminal is tmux's, whose screen can be read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use program::{PROGRAM, Release, Run, shared_store, unique};
use serde_json::Value;

/// How long something may take to appear that must appear.
const LONGEST: Duration = Duration::from_secs(120);

#[test]
fn the_lines_of_a_screen_follow_the_size_of_its_terminal() {
    let release = endless();
    let terminal = Terminal::start(&release, 200, 50);
    terminal.wait(|screen| rows(screen, 6, false) && screen.contains("line of the build"));
    // The first time it gets narrower, all that was above the lines is still there.
    terminal.resize(80, 24);
    terminal.wait(|screen| rows(screen, 6, false) && within(screen, 80));
    let history = terminal.tmux(&["capture-pane", "-p", "-S", "-"]);
    assert_eq!(history.matches("6 packages: 0 cached, 6 to build").count(), 1, "{history}");
    assert_eq!(history.matches("6 running").count(), 1, "{history}");

    for (columns, height) in [(40, 10), (20, 5), (40, 10), (80, 24), (7, 3)] {
        terminal.resize(columns, height);
        terminal.wait(|screen| {
            within(screen, columns)
                && match (columns, height) {
                    (20, 5) => rows(screen, 2, true) && screen.contains("… 4 more"),
                    (7, 3) => screen.lines().filter(|line| !line.is_empty()).count() <= 3,
                    _ => rows(screen, 6, false),
                }
        });
    }
}

#[test]
fn an_interrupt_is_answered_at_once_and_ends_in_what_is_kept() {
    let release = endless();
    let terminal = Terminal::start(&release, 80, 24);
    terminal.wait(|screen| rows(screen, 6, false) && screen.contains("line of the build"));
    terminal.tmux(&["send-keys", "C-c"]);
    let screen = terminal.wait(|screen| screen.contains("exit 130"));
    let order = [
        "stopping: running builds are ended, what is finished is kept; again to stop now",
        "cancelled after",
        "stopped: 0 of 6 packages are built and kept; the same command goes on from there",
        "6 cancelled",
        "exit 130, the terminal is as it was",
    ];
    let places: Vec<_> = order.iter().map(|text| screen.find(text)).collect();
    assert!(places.is_sorted() && places[0].is_some(), "{places:?}\n{screen}");
    assert!(!screen.contains("6 running"), "the moving lines are gone\n{screen}");
}

#[test]
fn a_second_interrupt_stops_now_and_leaves_terminal_and_store_in_order() {
    let release = endless();
    let terminal = Terminal::start(&release, 80, 24);
    terminal.wait(|screen| rows(screen, 6, false) && screen.contains("line of the build"));
    terminal.tmux(&["send-keys", "C-c", "C-c"]);
    let screen = terminal.wait(|screen| screen.contains("exit 130"));
    assert!(screen.contains("exit 130, the terminal is as it was"), "{screen}");
    assert!(screen.contains("\nstopped: "), "{screen}");
    assert!(!screen.contains("6 running"), "the moving lines are gone\n{screen}");
    // Whatever it was at is no obstacle to the next run.
    quick(&release, &unique());
    let run = release.run("build", &["quick", "--json"]).ends_with(0);
    assert_eq!(run.statuses(), ["quick built"]);
}

#[test]
fn a_program_gets_documents_and_nothing_else() {
    let release = small();
    quick(&release, &unique());
    let run = release.run("build", &["--json", "--progress", "json"]).ends_with(0);
    assert_eq!(run.statuses(), ["quick built"]);
    let documents: Vec<Value> =
        run.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |event: &str| -> Vec<&Value> {
        documents.iter().filter(|document| document["event"] == event).collect()
    };
    assert_eq!(of("planned")[0]["packages"], 1);
    assert_eq!(of("finished")[0]["status"], "built");
    assert!(of("phase").iter().any(|document| document["phase"] == "build"));
    let hostile = of("line").into_iter().find_map(|one| one["text"].as_str()?.strip_prefix("odd "));
    assert_eq!(hostile, Some("字幕end"), "what drives terminals is left out");
    let last = documents.last().unwrap();
    assert_eq!((&last["event"], &last["built"]), (&"ended".into(), &1.into()), "{last}");
}

#[test]
fn continuous_integration_gets_plain_lines_even_on_a_terminal() {
    let release = small();
    quick(&release, &unique());
    let command = format!(
        "{PROGRAM} build {} --verbose --store {}",
        release.path("").display(),
        shared_store().display()
    );
    let run = Run::of(
        Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .env("CI", "true")
            .env("TERM", "xterm")
            .stdin(Stdio::null()),
    )
    .ends_with(0);
    for expected in ["quick 1.0-1: begins", "quick: build", "quick| odd 字幕end", "built in"] {
        assert!(run.out.contains(expected), "{}", run.out);
    }
    let odd = |c: &char| c.is_control() && !['\r', '\n'].contains(c);
    assert_eq!(run.out.chars().find(odd), None, "{}", run.out);
}

/// A release without packages.
fn small() -> Release {
    let release = Release::copy_of("specs/demo");
    for folder in ["packages", "src"] {
        std::fs::remove_dir_all(release.path(folder)).unwrap();
    }
    release.write("src/nothing/README", "nothing\n");
    release
}

/// A release of six packages whose builds print some lines and do not end.
fn endless() -> Release {
    let release = small();
    let spec = r##"
        ["a1", "b2", "c3", "d4", "e5", "f6"].map(|name| package(#{
            name: "slow-" + name, version: "1.0", revision: "1", date: "2026-11-22",
            summary: "Never done " + name, license: "MIT", source: dir("src/nothing"),
            build: script(#"
                printf 'a line of the build, wide \345\255\227\345\271\225 and long enough to be '
                printf 'cut off anywhere: \033[2J %s\n' "$(seq -s ' ' 100)"
                while :; do sleep 1; done
            "#),
        }))
    "##;
    release.write("packages/slow.rhai", spec);
    release.run("lock", &[]).ends_with(0);
    release
}

/// Adds a package that is soon built, and was not built before if the word is new.
fn quick(release: &Release, word: &str) {
    let spec = r##"
        package(#{
            name: "quick", version: "1.0", revision: "1", date: "2026-11-22",
            summary: "Soon done", license: "MIT", source: dir("src/nothing"),
            build: script(#"
                printf 'odd \345\255\227\345\271\225\033[2J\007end\n'
                mkdir -p "$DESTDIR/usr/share/quick"
                echo WORD > "$DESTDIR/usr/share/quick/word"
            "#),
        })
    "##;
    release.write("packages/quick.rhai", &spec.replace("WORD", word));
    release.run("lock", &[]).ends_with(0);
}

/// Whether the screen ends in so many lines of packages, one that says how many more there are if
/// they are folded, and the line of the whole; and has no other lines of packages above.
fn rows(screen: &str, packages: usize, folded: bool) -> bool {
    let lines: Vec<&str> = screen.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_package = |line: &&str| line.starts_with("slow-");
    let Some(first) = lines.iter().position(is_package) else { return false };
    let block = &lines[first..];
    block.len() == packages + usize::from(folded) + 1
        && block.iter().filter(|line| is_package(line)).count() == packages
        && block.last().is_some_and(|line| line.contains("0/6 · 6 running"))
}

/// Whether every line has fewer columns than the terminal, so that none was wrapped. The wide
/// characters of these builds count twice.
fn within(screen: &str, columns: usize) -> bool {
    let width = |c: char| if "字幕".contains(c) { 2 } else { 1 };
    screen
        .lines()
        .filter(|line| line.contains("slow-") || line.contains("running"))
        .all(|line| line.chars().map(width).sum::<usize>() < columns)
}

/// A terminal in which a release is built.
struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    fn start(release: &Release, columns: usize, height: usize) -> Self {
        let terminal = Self { folder: tempfile::tempdir().unwrap() };
        // What stays after the build keeps the screen; the keys of an interrupt reach it too.
        let script = format!(
            "trap : INT; before=$(stty -g); '{PROGRAM}' build '{}' -j 6 --store '{}'; code=$?\n\
             [ \"$before\" = \"$(stty -g)\" ] && as='as it was' || as='changed'\n\
             echo \"exit $code, the terminal is $as\"; exec cat\n",
            release.path("").display(),
            shared_store().display(),
        );
        let path = terminal.folder.path().join("script");
        std::fs::write(&path, script).unwrap();
        let (columns, height) = (columns.to_string(), height.to_string());
        let command = format!("env -u CI -u PERESTROIKA_STORE sh '{}'", path.display());
        let size = ["-x", &columns, "-y", &height];
        terminal
            .tmux(&[&["-f", "/dev/null", "new-session", "-d"], &size[..], &[&command]].concat());
        terminal
    }

    /// Runs a command of tmux and gives what it prints.
    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-u")
            .arg("-S")
            .arg(self.socket())
            .args(arguments)
            .env_remove("TMUX")
            .output()
            .expect("tmux is installed");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn resize(&self, columns: usize, height: usize) {
        let (columns, height) = (columns.to_string(), height.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &height]);
    }

    /// The screen, once it is as it must become.
    #[track_caller]
    fn wait(&self, is_so: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p"]);
            if is_so(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < LONGEST, "this stays on the screen:\n{screen}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The build is ended by its terminal going away.
        let _ = Command::new("tmux").arg("-S").arg(self.socket()).arg("kill-server").output();
    }
}

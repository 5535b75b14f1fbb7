//! Builds that mean harm, in the real build root of `specs/single`: how each ends, what it says,
//! and that the others are built all the same.
//!
//! All tests share one store, so that the root is fetched and made once; its packages come from
//! the mirror that this host's apt knows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use common::{Desk, Ran};
use perestroika::base::HostPath;
use perestroika::store::Store;
use serde_json::Value;

/// A release without packages over the shared store.
fn desk() -> Desk {
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile-build-store");
    let desk = Desk::single().with_flags([""; 0]).with_store(store);
    desk.remove("hello.rhai");
    desk
}

/// A package of this name, resources and script. Its version is this run's own: no earlier run
/// has built it.
fn package(name: &str, resources: &str, script: &str) -> String {
    format!(
        "package(#{{\n    name: \"{name}\", version: \"1.{}\", summary: \"x\", license: \"MIT\",\n    \
         changes: #{{ date: \"2026-11-22\", text: \"x\" }}, source: dir(\"src/hello\"),\n    \
         resources: #{{ {resources} }},\n    build: script(##\"\n{script}\n\"##),\n}})\n",
        token()
    )
}

/// A number that is this process's own.
fn token() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    static TOKEN: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *TOKEN.get_or_init(|| since.as_secs() * 100_000 + u64::from(std::process::id()))
}

/// Processes of this machine whose command line holds the token.
fn left() -> Vec<String> {
    let command_line = |entry: std::io::Result<fs::DirEntry>| {
        let text = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    let token = format!("sleep\0{}", token());
    let all = fs::read_dir("/proc").unwrap().filter_map(command_line);
    all.filter(|line| line.contains(&token)).collect()
}

const LONG: u32 = 600;

#[test]
fn hostile_builds_end_and_the_good_ones_beside_them_are_built() {
    let desk = desk();
    let token = token();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let keep = tempfile::tempdir().unwrap();
    let (secret, outside) = (keep.path().join("secret"), keep.path().join("outside"));
    fs::write(&secret, "this is the secret").unwrap();
    let (secret, outside_name) = (secret.display().to_string(), outside.display().to_string());
    symlink(&secret, desk.path("src/hello/absolute")).unwrap();
    symlink(format!("../../../../../../../..{secret}"), desk.path("src/hello/relative")).unwrap();

    let long = format!("time: {LONG}");
    let refuse = "no() { if sh -c \"$1\" </dev/null; then echo \"BREACH: $1\"; exit 1; fi; }\n";
    let hostile = [
        (
            "forks",
            format!("{long}, memory: 200000000, scratch: 50000000"),
            format!("while sleep {token} & do :; done"),
        ),
        ("writes", format!("{long}, scratch: 50000000"), "cat /dev/zero > big".to_owned()),
        ("prints", long.clone(), "yes \"$(head -c 60000 /dev/zero | tr '\\0' x)\"".to_owned()),
        ("sleeps", format!("{long}, silence: 5"), format!("sleep {token}")),
        (
            "talks",
            "time: 6".to_owned(),
            format!("trap '' TERM INT HUP; sleep {token} & while :; do echo on; sleep 0.2; done"),
        ),
        ("fails", long.clone(), "echo 'x.c:3: error: it is broken' >&2; exit 7".to_owned()),
        ("kills", long.clone(), "kill -9 -1; kill -9 $$".to_owned()),
        ("strays", long.clone(), "echo x > ../libstray_1_all.deb".to_owned()),
        (
            "others",
            long.clone(),
            "mkdir -p other/DEBIAN\nprintf 'Package: libother\\nSource: others\\nVersion: 1\\nArchitecture: all\\n\
             Maintainer: A <a@x.example>\\nDescription: x\\n' > other/DEBIAN/control\n\
             dpkg-deb -b other ../libother_1_all.deb"
                .to_owned(),
        ),
    ];
    let good = [
        (
            "network",
            long.clone(),
            format!(
                "{refuse}no 'bash -c \"exec 3<>/dev/tcp/127.0.0.1/{port}\"'\n\
                 no 'bash -c \"exec 3<>/dev/tcp/192.0.2.1/80\"'\n\
                 no 'bash -c \"exec 3<>/dev/udp/192.0.2.1/53\"'\n\
                 no 'getent hosts example.org'\n"
            ),
        ),
        (
            "outside",
            long.clone(),
            format!(
                "{refuse}for file in /etc/x /usr/bin/x /x /run/perestroika/build /proc/sys/kernel/x; do\n\
                 no \"echo x > $file\"\ndone\n\
                 no 'cat absolute'\nno 'cat relative'\nno 'cat {secret}'\n\
                 no 'rm -rf /etc/passwd'\nno 'mount -t tmpfs none /tmp'\nno 'chown 0 .'\n\
                 mkdir -p $(dirname {outside_name}) && echo x > {outside_name} || :\n\
                 ln -s {secret} ../leak.deb\nln -s /etc/passwd ../leak_1_all.deb\n"
            ),
        ),
        ("plain", long, "install -D hello.c \"$DESTDIR/usr/share/plain/hello.c\"".to_owned()),
    ];
    for (name, resources, script) in hostile.iter().chain(&good) {
        desk.write(&format!("packages/{name}.rhai"), package(name, resources, script));
    }

    let ran = desk.run(&["build", "--json"]).fails(1, &[]);
    assert_eq!(left(), [""; 0]);
    let document = ran.json();
    let of = |name: &str| -> &Value {
        let packages = document["packages"].as_array().unwrap();
        packages.iter().find(|package| package["name"] == name).expect(name)
    };
    for (name, words) in [
        ("forks", "its build needed more than 190 MiB of memory"),
        ("writes", "its build filled its 47 MiB of scratch space"),
        ("prints", "its build printed more than 512 MiB"),
        ("sleeps", "its build printed nothing for 5 s"),
        ("talks", "its build took longer than 6 s"),
        ("fails", "compiler: x.c:3: error: it is broken"),
        ("kills", "its build"),
        ("strays", "output `libstray_1_all.deb`: not a Debian package"),
        ("others", "its build left other packages than its packaging declares"),
    ] {
        assert_eq!(of(name)["status"], "failed", "{name}");
        let (begin, message) = (format!("{name} 1.{token} failed: "), message(&document, name));
        assert!(message.starts_with(&begin) && message.contains(words), "{message}");
        let hint = format!("its spec: packages/{name}.rhai:1");
        assert!(error(&document, name)["hints"].to_string().contains(&hint), "{document}");
    }
    assert!(message(&document, "others").contains("not declared: libother"), "{document}");
    for (name, ..) in &good {
        assert_eq!(of(name)["status"], "built", "{name}: {document}\n{}", ran.err);
        let outputs = of(name)["outputs"].to_string();
        assert!(!outputs.contains("leak"), "{outputs}");
    }
    assert!(listener.accept().is_err(), "nobody came");
    assert!(!outside.exists(), "nothing came out");
    let log = desk.run(&["log", "outside"]).succeeds().out;
    assert!(!log.contains("this is the secret") && !log.contains("BREACH"), "{log}");
    assert!(!desk.path("out/leak.deb").exists());

    let words = [
        "its build printed nothing for 5 s",
        "help: raise the limit in its spec, for example `resources: #{ silence: \"1h\" }`",
        "log     perestroika log sleeps",
        "spec    packages/sleeps.rhai:1",
    ];
    desk.run(&["build", "sleeps"]).fails(1, &words);
    for (name, ..) in &hostile {
        desk.remove(&format!("packages/{name}.rhai"));
    }
    let again = desk.run(&["build", "--json"]).succeeds().json();
    assert_eq!(again["summary"]["cached"], good.len());
    assert!(again["release"]["manifest"].is_string());
    desk.store_is_intact();
}

fn error<'a>(document: &'a Value, name: &str) -> &'a Value {
    let mut errors = document["errors"].as_array().unwrap().iter();
    let begin = format!("{name} ");
    errors.find(|error| error["message"].as_str().unwrap().starts_with(&begin)).expect(name)
}

fn message<'a>(document: &'a Value, name: &str) -> &'a str {
    error(document, name)["message"].as_str().unwrap()
}

/// The build is held at its lock while the folder changes: between evaluation and build.
#[test]
fn a_source_that_changes_while_it_is_built_is_an_error_of_its_own() {
    let desk = desk();
    desk.write("one.rhai", package("one", "time: 600", "test -e ready"));
    desk.run(&["build"]).fails(1, &["one 1."]);
    let store = Store::open(&HostPath::new(desk.store())).unwrap();
    let name = "one".parse().unwrap();
    let attempt = store.attempts(Some(&name), 1).unwrap().remove(0);
    let change = |how: &dyn Fn()| {
        let held = store.lock(&format!("action-{}", attempt.action)).unwrap();
        let mut command = desk.command(&[], &["build", "--progress", "json"]);
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("\"phase\":\"wait\"")), "it waits");
        how();
        drop(held);
        let err = lines.map(|line| line + "\n").collect::<String>();
        let code = child.wait().unwrap().code();
        Ran { what: "build".to_owned(), code, out: String::new(), err }
    };
    let file = desk.path("src/hello/hello.c");
    let good = fs::read(&file).unwrap();
    let again = "help: run the command again: it evaluates the folder as it is now";
    let words = ["src/hello/hello.c` changed since it was evaluated", "evaluated ", "now ", again];
    change(&|| fs::write(&file, "other").unwrap()).fails(2, &words);
    fs::write(&file, &good).unwrap();
    let words = ["src/hello/hello.c` is no longer the file that was evaluated", again];
    change(&|| fs::remove_file(&file).unwrap()).fails(2, &words);
    let link = || symlink("/dev/zero", &file).unwrap();
    fs::write(&file, &good).unwrap();
    change(&|| fs::remove_file(&file).map(|()| link()).unwrap()).fails(2, &words);
    fs::remove_file(&file).unwrap();
    fs::write(&file, &good).unwrap();
    desk.write("src/hello/ready", "");
    desk.run(&["build"]).succeeds();
}

/// What lies in the folder that packages are copied to is not trusted.
#[test]
fn garbage_where_packages_are_copied_to_does_no_harm() {
    let desk = desk();
    desk.write("two.rhai", package("two", "time: 600", "true"));
    desk.run(&["build"]).succeeds();
    let manifest = desk.read("out/MANIFEST.json");
    let deb = format!("out/two_1.{}_amd64.deb", token());
    let bytes = fs::read(desk.path(&deb)).unwrap();
    desk.write("kept", "kept").write("out/mine", "mine");
    desk.write("out/MANIFEST.json", "garbage").write(&deb, "garbage");
    desk.write("out/.perestroika-files", b"\xff../kept\n../kept\n/etc/passwd\n.\n..\n\n");
    desk.run(&["build"]).succeeds();
    assert_eq!(desk.read("out/MANIFEST.json"), manifest);
    assert_eq!(fs::read(desk.path(&deb)).unwrap(), bytes);
    desk.write("out/.perestroika-files", "../kept\n/etc/passwd\n.\n..\n\n");
    desk.run(&["build"]).succeeds();
    assert_eq!((desk.read("kept"), desk.read("out/mine")), ("kept".into(), "mine".into()));
    // A link is replaced, what it leads to is not.
    desk.remove(&deb);
    symlink(desk.path("kept"), desk.path(&deb)).unwrap();
    desk.run(&["build"]).succeeds();
    assert_eq!((desk.read("kept"), fs::read(desk.path(&deb)).unwrap()), ("kept".into(), bytes));
    desk.remove("out").write("out", "a file");
    desk.run(&["build"]).fails(3, &["cannot create", "out`"]);
    desk.remove("out").write("out/MANIFEST.json/x", "");
    desk.run(&["build"]).fails(3, &["out/MANIFEST.json`"]);
    desk.remove("out");
    desk.run(&["build"]).succeeds();
    assert_eq!(desk.read("out/MANIFEST.json"), manifest);
}

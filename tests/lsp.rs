//! The language server as an editor meets it: the program itself, spoken to over its standard
//! input and output.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use perestroika::base::{HostPath, Sha256};
use perestroika::store::Store;
use serde_json::{Value, json};

use program::{PROGRAM, Release};

/// How long an answer may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A small archive: what the demo needs, and some more.
const PACKAGES: &str = "\
Package: debhelper
Version: 13.11.4
Architecture: all
Provides: debhelper-compat (= 13)
Filename: pool/d.deb
Size: 1
SHA256: 0101010101010101010101010101010101010101010101010101010101010101
Description: helper programs for debian/rules

Package: libxml2-dev
Source: libxml2
Version: 2.9.14+dfsg-1.3
Architecture: amd64
Filename: pool/x.deb
Size: 1
SHA256: 0202020202020202020202020202020202020202020202020202020202020202
Description: GNOME XML library - development files

Package: libxslt1-dev
Source: libxslt
Version: 1.1.35-1
Architecture: amd64
Filename: pool/y.deb
Size: 1
SHA256: 0303030303030303030303030303030303030303030303030303030303030303
Description: XSLT 1.0 processing library - development kit

Package: python3-libxml2
Source: libxml2
Version: 2.9.14+dfsg-1.3
Architecture: amd64
Filename: pool/z.deb
Size: 1
SHA256: 0404040404040404040404040404040404040404040404040404040404040404
Description: Python3 bindings for the GNOME XML library
";

/// The demo release over the small archive, and a store that has its index.
struct Desk {
    release: Release,
    store: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let release = Release::copy_of("specs/demo");
        std::fs::remove_file(release.path("packages/debian.rhai")).unwrap();
        let lock = std::fs::read_to_string(release.path("release.lock")).unwrap();
        let line = lock.lines().find(|line| line.contains("main/binary-amd64/Packages")).unwrap();
        let sha256 = Sha256::of(PACKAGES.as_bytes());
        let ours = format!(
            "    {{ path = \"main/binary-amd64/Packages\", kind = \"packages\", architecture = \
             \"amd64\", size = {}, sha256 = \"{sha256}\" }},",
            PACKAGES.len()
        );
        release.replace("release.lock", line, &ours);
        release.replace(
            "release.toml",
            "[archive.bookworm]",
            "[parameters]\nopenstack = \"2015.1\"\n\n[archive.bookworm]",
        );
        let store = tempfile::tempdir().unwrap();
        let opened = Store::open(&HostPath::new(store.path())).unwrap();
        let expected = Some((sha256, PACKAGES.len() as u64));
        opened.put_file(PACKAGES.as_bytes(), expected).unwrap();
        Self { release, store }
    }

    /// An editor on it.
    fn editor(&self) -> Editor {
        Editor::start(Command::new(PROGRAM).arg("lsp").arg("--store").arg(self.store.path()))
    }

    fn uri(&self, path: &str) -> String {
        format!("file://{}", self.release.path(path).display())
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.release.path(path)).unwrap()
    }
}

/// An editor: the client's side of the protocol.
struct Editor {
    child: Child,
    input: Option<ChildStdin>,
    messages: Receiver<Value>,
    diagnostics: BTreeMap<String, Value>,
    requests: u64,
}

impl Drop for Editor {
    fn drop(&mut self) {
        // Only where a test has failed is it still there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Editor {
    fn start(command: &mut Command) -> Self {
        let mut editor = Self::spawn(command);
        let capabilities =
            json!({ "textDocument": { "publishDiagnostics": { "relatedInformation": true } } });
        let answer = editor.ask(
            "initialize",
            json!({ "processId": null, "rootUri": null, "capabilities": capabilities }),
        );
        assert_eq!(answer["serverInfo"]["name"], "perestroika");
        for provider in ["completionProvider", "hoverProvider", "definitionProvider"] {
            assert!(!answer["capabilities"][provider].is_null(), "{answer}");
        }
        editor.tell("initialized", json!({}));
        editor
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            loop {
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if output.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    match line.trim().split_once(": ") {
                        Some(("Content-Length", value)) => length = value.parse().unwrap(),
                        Some(_) => {}
                        None => break,
                    }
                }
                let mut content = vec![0; length];
                output.read_exact(&mut content).unwrap();
                let message = serde_json::from_slice(&content).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, messages, diagnostics: BTreeMap::new(), requests: 0 }
    }

    fn send(&mut self, message: &Value) {
        let content = message.to_string();
        let input = self.input.as_mut().unwrap();
        write!(input, "Content-Length: {}\r\n\r\n{content}", content.len()).unwrap();
        input.flush().unwrap();
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    #[track_caller]
    fn receive(&mut self) -> Value {
        let message = self.messages.recv_timeout(PATIENCE).expect("the server answers");
        if message["method"] == "textDocument/publishDiagnostics" {
            let params = &message["params"];
            let uri = params["uri"].as_str().unwrap().to_owned();
            self.diagnostics.insert(uri, params["diagnostics"].clone());
        }
        message
    }

    /// The whole answer to a request.
    #[track_caller]
    fn response(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let id = self.requests;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let message = self.receive();
            if message["id"] == id {
                return message;
            }
        }
    }

    /// The result of a request.
    #[track_caller]
    fn ask(&mut self, method: &str, params: Value) -> Value {
        let response = self.response(method, params);
        assert!(response["error"].is_null(), "{method}: {response}");
        response["result"].clone()
    }

    fn open(&mut self, uri: &str, text: &str) {
        let document = json!({ "uri": uri, "languageId": "rhai", "version": 1, "text": text });
        self.tell("textDocument/didOpen", json!({ "textDocument": document }));
    }

    /// The whole text anew.
    fn write(&mut self, uri: &str, version: i32, text: &str) {
        self.tell(
            "textDocument/didChange",
            json!({
                "textDocument": { "uri": uri, "version": version },
                "contentChanges": [{ "text": text }],
            }),
        );
    }

    /// Listens until what is wrong with a file is as wanted.
    #[track_caller]
    fn diagnostics(&mut self, uri: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let found = self.diagnostics.get(uri).and_then(Value::as_array).cloned();
            match found {
                Some(found) if wanted(&found) => return found,
                found => assert!(begun.elapsed() < PATIENCE, "{uri}: {found:#?}"),
            }
            let message = self.receive();
            assert!(!message["method"].is_null(), "{message}");
        }
    }

    /// Opens a text with the cursor at `‸`, and where that is.
    fn at(&mut self, uri: &str, version: i32, marked: &str) -> Value {
        let (before, after) = marked.split_once('‸').expect("a cursor");
        self.write(uri, version, &format!("{before}{after}"));
        let line = before.matches('\n').count();
        let last = before.rsplit('\n').next().unwrap();
        let character = last.encode_utf16().count();
        json!({
            "textDocument": { "uri": uri },
            "position": { "line": line, "character": character },
        })
    }

    /// What is offered at the cursor of a text.
    #[track_caller]
    fn offers(&mut self, uri: &str, version: i32, marked: &str) -> Vec<Value> {
        let place = self.at(uri, version, marked);
        let list = self.ask("textDocument/completion", place);
        list["items"].as_array().unwrap().clone()
    }

    #[track_caller]
    fn hover(&mut self, uri: &str, version: i32, marked: &str) -> String {
        let place = self.at(uri, version, marked);
        let answer = self.ask("textDocument/hover", place);
        answer["contents"]["value"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn definition(&mut self, uri: &str, version: i32, marked: &str) -> Value {
        let place = self.at(uri, version, marked);
        self.ask("textDocument/definition", place)
    }

    /// Leaves as the protocol has it: exit code 0.
    #[track_caller]
    fn leave(mut self) {
        assert_eq!(self.ask("shutdown", Value::Null), Value::Null);
        let refused = self.response("textDocument/hover", json!({}));
        assert_eq!(refused["error"]["code"], -32600, "{refused}");
        self.tell("exit", Value::Null);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

fn labels(offers: &[Value]) -> Vec<&str> {
    offers.iter().map(|offer| offer["label"].as_str().unwrap()).collect()
}

fn start_of(value: &Value) -> (u64, u64) {
    let start = &value["range"]["start"];
    (start["line"].as_u64().unwrap(), start["character"].as_u64().unwrap())
}

#[test]
fn mistakes_show_while_they_are_typed_and_go_when_they_are_mended() {
    let desk = Desk::new();
    let mut editor = desk.editor();
    let uri = desk.uri("packages/greet.rhai");
    let good = desk.read("packages/greet.rhai");
    editor.open(&uri, &good);
    editor.diagnostics(&uri, <[Value]>::is_empty);

    // Behind a character that is two units wide, and only in the editor.
    let bad = good.replace("name: \"greet\"", "summary: \"😀\", nmae: \"greet\"");
    let line = bad.lines().position(|line| line.contains("nmae")).unwrap() as u64;
    editor.write(&uri, 2, &bad);
    let found = editor.diagnostics(&uri, |found| found.len() == 1);
    assert_eq!(found[0]["code"], "unknown-key", "{found:#?}");
    assert_eq!(found[0]["message"], "unknown key `nmae` in a package");
    assert_eq!(start_of(&found[0]), (line, 23));
    assert_eq!(found[0]["range"]["end"], json!({ "line": line, "character": 27 }));
    let related = &found[0]["relatedInformation"][0];
    assert_eq!(related["message"], "did you mean `name`?");
    assert_eq!(related["location"]["uri"], uri);

    // One change of a range mends it: `nmae` to `name`.
    let range = json!({
        "start": { "line": line, "character": 24 }, "end": { "line": line, "character": 26 },
    });
    editor.tell(
        "textDocument/didChange",
        json!({
            "textDocument": { "uri": uri, "version": 3 },
            "contentChanges": [{ "range": range, "text": "am" }],
        }),
    );
    editor.diagnostics(&uri, <[Value]>::is_empty);
    editor.leave();
}

#[test]
fn names_are_checked_against_the_release_and_the_pinned_archive() {
    let desk = Desk::new();
    let mut editor = desk.editor();
    let uri = desk.uri("packages/greet.rhai");
    let text = desk.read("packages/greet.rhai");
    let with = |names: &str| {
        text.replace("name: \"greet\",", &format!("name: \"greet\", build_depends: [{names}],"))
    };
    editor.open(&uri, &with("\"libgreet-dev (>= 1.0)\", \"libxml2-dev\", \"libgret-dev\""));
    let found = editor.diagnostics(&uri, |found| found.len() == 1);
    let message = found[0]["message"].as_str().unwrap();
    assert!(message.starts_with("unknown build dependency `libgret-dev`"), "{message}");
    let hint = found[0]["relatedInformation"][0]["message"].as_str().unwrap();
    assert!(hint.starts_with("this release builds `libgreet-dev`"), "{hint}");
    // Every mistake of a list shows, beside the name that nobody has.
    editor.write(&uri, 2, &with("\"x y\", \"libgret-dev\", \"c_c\""));
    let found = editor.diagnostics(&uri, |found| found.len() == 3);
    let codes: Vec<_> = found.iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["dependency-syntax", "dependency-syntax", "unknown-dependency"]);
    editor.write(&uri, 3, &with("\"libgreet-dev\""));
    editor.diagnostics(&uri, <[Value]>::is_empty);
    editor.leave();
}

#[test]
fn release_toml_and_other_files_of_the_release_are_told_of_too() {
    let desk = Desk::new();
    let mut editor = desk.editor();
    let (spec, toml) = (desk.uri("packages/greet.rhai"), desk.uri("release.toml"));
    editor.open(&spec, &desk.read("packages/greet.rhai"));
    editor.diagnostics(&spec, <[Value]>::is_empty);
    let good = desk.read("release.toml");
    editor.open(&toml, &good.replace("version = \"1.0\"", "version = 1"));
    let found = editor.diagnostics(&toml, |found| found.len() == 1);
    assert!(found[0]["message"].as_str().unwrap().contains("must be a string"), "{found:#?}");
    editor.write(&toml, 2, &good);
    editor.diagnostics(&toml, <[Value]>::is_empty);

    // A spec that is nowhere on disk yet has the name of one that is.
    let new = desk.uri("packages/new.rhai");
    editor.open(&new, "package(#{ name: \"greet\", source: dir(\"src/greet\"), build: debian() })");
    let found = editor.diagnostics(&new, |found| found.len() == 1);
    assert_eq!(found[0]["code"], "duplicate-package");
    assert_eq!(found[0]["relatedInformation"][0]["location"]["uri"], spec);
    editor.tell("textDocument/didClose", json!({ "textDocument": { "uri": new } }));
    editor.diagnostics(&new, <[Value]>::is_empty);
    editor.leave();
}

#[test]
fn fields_functions_parameters_and_names_are_completed() {
    let desk = Desk::new();
    let mut editor = desk.editor();
    let uri = desk.uri("packages/greet.rhai");
    let text = desk.read("packages/greet.rhai");
    editor.open(&uri, &text);
    // The archive is known once a name of it is missed.
    let missing = text.replace("name: \"greet\",", "name: \"greet\", build_depends: [\"none\"],");
    editor.write(&uri, 2, &missing);
    editor.diagnostics(&uri, |found| found.iter().any(|it| it["code"] == "unknown-dependency"));

    let offers = editor.offers(&uri, 4, "package(#{ name: \"a\", bu‸ })");
    let fields = labels(&offers);
    assert!(fields.contains(&"build_depends") && fields.contains(&"source"), "{fields:?}");
    assert!(!fields.contains(&"name"), "{fields:?}");
    let build = offers.iter().find(|offer| offer["label"] == "build_depends").unwrap();
    assert_eq!(build["detail"], "a list of strings");
    assert!(build["documentation"]["value"].as_str().unwrap().contains("own syntax"), "{build}");
    assert_eq!(build["textEdit"]["newText"], "build_depends: ");
    assert_eq!(
        build["textEdit"]["range"],
        json!({ "start": { "line": 0, "character": 22 }, "end": { "line": 0, "character": 24 } })
    );

    let offers = editor.offers(&uri, 5, "prev(\"a\").add(#{ ‸ })");
    assert!(labels(&offers).contains(&"patches"));
    let offers = editor.offers(&uri, 6, "package(#{ changes: #{ ‸ } })");
    assert_eq!(labels(&offers), ["date", "text", "author"]);

    let offers = editor.offers(&uri, 7, "package(#{ build: scr‸ })");
    let script = offers.iter().find(|offer| offer["label"] == "script").unwrap();
    assert_eq!(script["detail"], "script(text)");
    assert!(script["documentation"]["value"].as_str().unwrap().contains("sh -e"), "{script}");
    assert!(labels(&offers).contains(&"debian") && labels(&offers).contains(&"package"));

    let offers = editor.offers(&uri, 8, "`1~${release.‸}`");
    assert_eq!(labels(&offers), ["name", "version", "openstack"]);

    let offers = editor.offers(&uri, 9, "package(#{ build_depends: [\"😀 | lib‸ (>= 1)\"] })");
    let names = labels(&offers);
    assert!(names.contains(&"libgreet-dev") && names.contains(&"libxml2-dev"), "{names:?}");
    let name = offers.iter().find(|offer| offer["label"] == "libxml2-dev").unwrap();
    assert_eq!(name["detail"], "GNOME XML library - development files");
    assert_eq!(
        name["textEdit"]["range"],
        json!({ "start": { "line": 0, "character": 33 }, "end": { "line": 0, "character": 36 } })
    );
    // Also where it is not how the name begins.
    let offers = editor.offers(&uri, 10, "package(#{ build_depends: [\"xml‸\"] })");
    assert!(labels(&offers).contains(&"python3-libxml2"), "{offers:#?}");

    let offers = editor.offers(&uri, 11, "rebuild([\"libxml2\", \"libx‸\"])");
    assert_eq!(labels(&offers), ["libxml2", "libxslt"]);
    let offers = editor.offers(&uri, 12, "package(#{ source: dir(\"src/‸\") })");
    assert_eq!(labels(&offers), ["src/greet", "src/libgreet"]);
    let offers = editor.offers(&uri, 13, "// pack‸");
    assert_eq!(labels(&offers), [""; 0]);
    editor.leave();
}

#[test]
fn hovering_tells_what_things_are_and_definitions_are_found() {
    let desk = Desk::new();
    desk.release.write("lib/common.rhai", "// Twice.\nfn twice(text) { text + text }\n");
    let mut editor = desk.editor();
    let uri = desk.uri("packages/greet.rhai");
    let text = desk.read("packages/greet.rhai");
    let marked = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    editor.open(&uri, &marked("name: \"greet\",", "name: \"greet\", build_depends: [\"none\"],"));
    editor.diagnostics(&uri, |found| found.iter().any(|it| it["code"] == "unknown-dependency"));

    let found = editor.hover(&uri, 2, &marked("source:", "sou‸rce:"));
    assert!(found.starts_with("**source**: a source"), "{found}");
    let found = editor.hover(&uri, 3, &marked("debian()", "deb‸ian()"));
    assert!(found.contains("debian()") && found.contains("own `debian/` folder"), "{found}");
    let depends = |names: &str| {
        marked("name: \"greet\",", &format!("name: \"greet\", build_depends: [{names}],"))
    };
    let found = editor.hover(&uri, 4, &depends("\"libx‸ml2-dev (>= 2)\""));
    assert!(found.contains("2.9.14+dfsg-1.3") && found.contains("GNOME XML library"), "{found}");
    let found = editor.hover(&uri, 5, &depends("\"libgreet‸-dev\""));
    assert!(found.contains("This release builds it") && found.contains("packages/greet.rhai:4"));
    let found = editor.hover(&uri, 6, &depends("\"debhelper-co‸mpat (= 13)\""));
    assert!(found.contains("virtual package") && found.contains("`debhelper`"), "{found}");
    let found = editor.hover(&uri, 7, "rebuild(\"libx‸ml2\")");
    assert!(found.contains("`libxml2-dev`, `python3-libxml2`"), "{found}");
    let found = editor.hover(&uri, 8, "release.open‸stack");
    assert_eq!(found, "`release.openstack` = `\"2015.1\"`");

    // What was just typed is evaluated while the editor goes on asking.
    let place = editor.at(&uri, 9, &depends("\"libgreet-de‸v\""));
    let begun = Instant::now();
    let mut found = Value::Null;
    while found.is_null() {
        assert!(begun.elapsed() < PATIENCE, "no definition of `libgreet-dev`");
        found = editor.ask("textDocument/definition", place.clone());
    }
    assert_eq!(found["uri"], uri);
    assert_eq!(start_of(&found), (3, 14));
    let found = editor.definition(&uri, 10, &marked("debian()", "deb‸ian()"));
    assert_eq!(found["uri"], desk.uri("release.lock.d/stdlib/debian.rhai"));
    assert_eq!(start_of(&found), (3, 3));
    let found = editor.definition(&uri, 11, &marked("src/greet", "src/‸greet"));
    assert_eq!(found["uri"], desk.uri("src/greet/debian/control"));
    let import = "import \"lib/com‸mon\" as common;\ncommon::twice(\"a\")";
    let found = editor.definition(&uri, 12, import);
    assert_eq!(found["uri"], desk.uri("lib/common.rhai"));
    let call = "import \"lib/common\" as common;\ncommon::tw‸ice(\"a\")";
    let found = editor.definition(&uri, 13, call);
    assert_eq!((&found["uri"], start_of(&found)), (&json!(desk.uri("lib/common.rhai")), (1, 3)));
    assert_eq!(editor.hover(&uri, 14, call), "```rhai\ntwice(text)\n```\n\nTwice.");
    let found = editor.definition(&uri, 15, "let x = 1;\n[x‸]");
    assert_eq!(start_of(&found), (0, 4));
    assert_eq!(editor.definition(&uri, 16, "nothing‸"), Value::Null);
    editor.leave();
}

#[test]
fn a_spec_is_laid_out_on_the_screen() {
    let desk = Desk::new();
    let mut editor = desk.editor();
    let uri = desk.uri("packages/greet.rhai");
    let options = json!({ "tabSize": 4, "insertSpaces": true });
    let laid_out = |editor: &mut Editor, version, text: &str| {
        editor.write(&uri, version, text);
        let document = json!({ "uri": uri });
        let params = json!({ "textDocument": document, "options": options.clone() });
        editor.ask("textDocument/formatting", params)
    };
    editor.open(&desk.uri("packages/greet.rhai"), "");
    let edits = laid_out(&mut editor, 2, "rebuild( \"😀\" )\n");
    let range =
        json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 1, "character": 0 } });
    assert_eq!(edits, json!([{ "range": range, "newText": "rebuild(\"😀\")\n" }]));
    assert_eq!(laid_out(&mut editor, 3, "rebuild(\"a\")\n"), json!([]));
    assert_eq!(laid_out(&mut editor, 4, "rebuild("), Value::Null);
    editor.leave();
}

#[test]
fn the_programs_own_stdlib_is_shown_from_a_file_that_cannot_be_changed() {
    let desk = Desk::new();
    let cache = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("lsp").arg("--store").arg(desk.store.path()).env("XDG_CACHE_HOME", cache.path());
    let mut editor = Editor::start(&mut command);
    // The demo pins `debian` only.
    let uri = desk.uri("packages/greet.rhai");
    editor.open(&uri, "");
    let found = editor.definition(&uri, 2, "scri‸pt(\"\")");
    let path = found["uri"].as_str().unwrap().strip_prefix("file://").unwrap();
    assert!(Path::new(path).starts_with(cache.path()), "{path}");
    let line = start_of(&found).0 as usize;
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.lines().nth(line).unwrap().starts_with("fn script("), "{text}");
    assert!(std::fs::metadata(path).unwrap().permissions().readonly());
    editor.leave();
}

#[test]
fn no_text_and_no_request_ends_it() {
    let desk = Desk::new();
    let mut editor = desk.editor();
    let uri = desk.uri("packages/greet.rhai");
    editor.open(&uri, "");
    let texts = [
        "\0\u{1}",
        "\"",
        "`${`${",
        "package(#{",
        "#{#{#{[[[(((",
        ")]}",
        "/*",
        "\u{feff}package(#{ nmae: 1 })",
        "\r\r\n\r",
        "import \"",
        "build_depends: [\"",
        "😀😀",
    ];
    let deep = ["package(#{".repeat(20_000), "`${".repeat(20_000), "[".repeat(100_000)];
    let texts = texts.into_iter().map(str::to_owned).chain(deep);
    for (version, text) in texts.enumerate() {
        editor.write(&uri, version as i32 + 2, &text);
        let length = text.encode_utf16().count();
        for character in [0, 1, length / 2, length, length + 9] {
            let place = json!({
                "textDocument": { "uri": uri },
                "position": { "line": 0, "character": character },
            });
            for method in ["completion", "hover", "definition"] {
                editor.ask(&format!("textDocument/{method}"), place.clone());
            }
        }
    }
    let code = |editor: &mut Editor, method: &str, params: Value| {
        editor.response(method, params)["error"]["code"].clone()
    };
    assert_eq!(code(&mut editor, "textDocument/hover", json!({ "x": 1 })), -32602);
    assert_eq!(code(&mut editor, "workspace/nothing", Value::Null), -32601);
    editor.tell("textDocument/didChange", json!([1]));
    editor.tell("textDocument/didOpen", json!({ "textDocument": { "uri": "no uri" } }));
    editor.open("untitled:Untitled-1", "package(#{ ");
    let backwards = json!({
        "start": { "line": 9, "character": 9 }, "end": { "line": 0, "character": 0 },
    });
    editor.tell(
        "textDocument/didChange",
        json!({
            "textDocument": { "uri": uri, "version": 99 },
            "contentChanges": [{ "range": backwards, "text": "x" }],
        }),
    );
    editor.write(&uri, 100, &desk.read("packages/greet.rhai"));
    let place =
        json!({ "textDocument": { "uri": uri }, "position": { "line": 3, "character": 9 } });
    let found = editor.ask("textDocument/hover", place);
    assert!(found["contents"]["value"].as_str().unwrap().starts_with("**name**"), "{found}");
    editor.leave();
}

#[test]
fn an_editor_that_goes_without_a_word_is_an_error() {
    let desk = Desk::new();
    let mut editor = desk.editor();
    editor.tell("exit", Value::Null);
    assert_eq!(editor.child.wait().unwrap().code(), Some(1));
    let mut editor = desk.editor();
    drop(editor.input.take());
    assert_eq!(editor.child.wait().unwrap().code(), Some(1));
}

#[test]
fn neovim_shows_mistakes_names_documentation_and_definitions() {
    if Command::new("nvim").arg("--version").output().is_err() {
        let required = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
        assert!(!required.split([',', ' ']).any(|word| word == "neovim"), "there is no `nvim`");
        return std::io::stderr().write_all(b"SKIPPED: there is no `nvim`\n").unwrap();
    }
    let desk = Desk::new();
    let home = tempfile::tempdir().unwrap();
    let session = Command::new("nvim")
        .args(["--clean", "--headless", "-i", "NONE", "-n"])
        .args(["-c", "luafile fixtures/lsp-neovim.lua"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PROGRAM", PROGRAM)
        .env("STORE", desk.store.path())
        .env("SPEC", desk.release.path("packages/greet.rhai"))
        .env("HOME", home.path())
        .env("XDG_CACHE_HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&session.stdout);
    assert!(session.status.success(), "{told}\n{}", String::from_utf8_lossy(&session.stderr));
    for expected in [
        "attached to perestroika",
        // Neovim counts bytes: `ö` is two, the emoji four.
        "line 9, bytes 27 to 31: unknown key `nmae` in a package",
        "mended",
        "offered for `lib`: ",
        " libgreet1 ",
        " libxml2-dev libxslt1-dev python3-libxml2\n",
        "hover: **build_depends**: a list of strings",
        "This release builds it: package `libgreet`, `packages/greet.rhai:4`",
        "jumped to line 4: name: \"libgreet\",",
        "left with exit code 0",
    ] {
        assert!(told.contains(expected), "no `{expected}` in:\n{told}");
    }
}

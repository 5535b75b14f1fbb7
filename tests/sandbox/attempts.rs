//! What nothing that is built may do, tried one by one: the network, files of the host, the
//! engine's socket, mounting, raw devices, processes outside, keys and settings of the kernel,
//! other builds.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

use crate::modes;
use crate::tiny::{Tiny, run, token};
use perestroika::base::HostPath;
use perestroika::sandbox::{Access, Mount, Request, Verdict};

/// Attempts that some machines refuse even their root: what is missing there, what the kernel
/// was built without, what its first process does not suffer.
const REFUSED_ANYWHERE: [&str; 15] = [
    "secret_through_first_process",
    "usual_sockets",
    "join_first_process",
    "make_and_read_disk",
    "read_memory",
    "make_and_read_memory",
    "kernel_log_device",
    "ports_of_the_processor",
    "trace_first_process",
    "memory_of_first_process",
    "descriptor_of_first_process",
    "module_loader",
    "system_request",
    "groups",
    "load_module",
];

/// What there is outside, for a guest to reach.
struct Outside {
    tiny: Tiny,
    words: Vec<String>,
    process: Child,
    _listeners: (TcpListener, UnixListener, UnixListener),
}

impl Outside {
    fn new() -> Self {
        let (tiny, token) = (Tiny::new(), token());
        compile("attempts.c", &tiny.path("root/bin/attempts"));
        tiny.hand_over(&tiny.path("root/bin/attempts"));
        // The owner of the guest may read it: only the sandbox keeps it away.
        let secret = tiny.make("secret").join("file");
        fs::write(secret.as_path(), "secret").expect("a file");
        tiny.hand_over(tiny.path("secret").as_path());
        fs::set_permissions(tiny.path(""), fs::Permissions::from_mode(0o755)).expect("a folder");
        let socket = tiny.path("socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).expect("a socket");
        let engine = modes::engine().and_then(|one| Some(one.strip_prefix("unix://")?.to_owned()));
        let engine = engine.unwrap_or_else(|| socket.display().to_string());
        let name = SocketAddr::from_abstract_name(&token).expect("a name");
        let named = UnixListener::bind_addr(&name).expect("a socket");
        let port = TcpListener::bind("127.0.0.1:0").expect("a port");
        let number = port.local_addr().expect("its number").port().to_string();
        let process = Command::new("sleep").arg(&token).spawn().expect("a process");
        let disk = rustix::fs::stat(tiny.path("")).expect("a folder").st_dev;
        let words = vec![
            secret.to_string(),
            engine,
            token,
            number,
            process.id().to_string(),
            rustix::fs::major(disk).to_string(),
            rustix::fs::minor(disk).to_string(),
        ];
        Self { tiny, words, process, _listeners: (port, listener, named) }
    }

    /// A guest that makes every attempt must have all refused.
    #[track_caller]
    fn nothing_is_reached(&self, mut request: Request) {
        request.argv = ["/bin/attempts".to_owned()].into_iter().chain(self.words.clone()).collect();
        let (outcome, log) = run(&request);
        assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
        assert!(!log.contains("BREACH") && log.ends_with("all tried\n"), "{log}");
        assert!(log.lines().count() > 40, "{log}");
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// Compiles a program of this folder for guests, which have no libraries.
pub fn compile(source: &str, to: &Path) {
    let text: &[u8] = match source {
        "attempts.c" => include_bytes!("attempts.c"),
        _ => include_bytes!("pages.c"),
    };
    let from = PathBuf::from(format!("{}.c", to.display()));
    fs::write(&from, text).expect("a source");
    let compiled = Command::new("cc").args(["-static", "-O1", "-o"]).args([to, &from]).status();
    assert!(compiled.expect("a C compiler").success());
    fs::remove_file(from).expect("a source");
}

in_every_mode! {
    fn nothing_outside_is_reached_while_building() {
        let outside = Outside::new();
        outside.nothing_is_reached(outside.tiny.build(""));
    }

    fn nothing_outside_is_reached_while_configuring() {
        let outside = Outside::new();
        outside.nothing_is_reached(outside.tiny.configure(""));
    }

    fn a_build_neither_sees_nor_reaches_another() {
        let (tiny, token) = (Tiny::new(), token());
        let shared = tiny.make("shared");
        tiny.hand_over(shared.as_path());
        let mounted = |script: &str| Request {
            mounts: vec![Mount {
                source: HostPath::new(shared.as_path()),
                target: "/build/shared".parse().expect("a guest path"),
                access: Access::Writable,
            }],
            ..tiny.build(script)
        };
        let wait = |name: &str| format!("until [ -e shared/{name} ]; do sleep 0.05; done");
        let one = mounted(&format!(
            "echo mine >mine; echo mine >/tmp/mine; sleep {token} & nc -ll -p 4747 -e echo hello &
            until nc -w 1 127.0.0.1 4747; do sleep 0.05; done
            touch shared/there; {}; kill -0 $! && cat mine",
            wait("tried"),
        ));
        let two = mounted(&format!(
            "{}; trap 'touch shared/tried' EXIT
            for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$file; echo; done | grep -q '^sleep {token}' && echo BREACH sees
            nc -w 1 127.0.0.1 4747 2>/dev/null && echo BREACH talks
            for file in mine /tmp/mine /proc/[0-9]*/root/build/mine; do [ -e $file ] && echo BREACH $file; done
            kill -9 -1 2>/dev/null; echo all tried", wait("there"),
        ));
        thread::scope(|scope| {
            let [one, two] = [&one, &two].map(|request| scope.spawn(|| run(request)));
            let (outcome, log) = two.join().expect("a run");
            assert_eq!((outcome.expect("a run").verdict, &*log), (Verdict::Built, "all tried\n"));
            let (outcome, log) = one.join().expect("a run");
            assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
            assert!(log.ends_with("hello\nmine\n"), "{log}");
        });
    }
}

/// Every attempt can fail its test: without a sandbox root is refused none, but for those that
/// depend on the machine.
#[test]
fn whatever_is_attempted_works_where_nothing_holds_it() {
    if !perestroika::sandbox::native::is_initial_root() {
        return modes::root_only("whatever_is_attempted_works_where_nothing_holds_it");
    }
    let outside = Outside::new();
    let output = Command::new(outside.tiny.path("root/bin/attempts"))
        .args(&outside.words)
        .output()
        .expect("the attempts");
    let log = String::from_utf8(output.stdout).expect("text");
    let refused: Vec<_> = log
        .lines()
        .filter_map(|line| line.strip_prefix("refused ")?.split_once(": "))
        .filter(|(name, _)| !REFUSED_ANYWHERE.contains(name))
        .collect();
    assert!(refused.is_empty() && log.ends_with("all tried\n"), "{refused:?}\n{log}");
    assert!(REFUSED_ANYWHERE.iter().all(|name| log.contains(name)), "{log}");
    assert!(fs::metadata("/proc/self").is_ok_and(|folder| folder.is_dir()), "{log}");
}

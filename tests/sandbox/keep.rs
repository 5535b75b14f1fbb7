//! What a command that failed leaves is kept; what succeeds costs nothing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::tiny::{Tiny, executor, run};
use perestroika::base::HostPath;
use perestroika::sandbox::{Keep, Keeping, Request, Scratch, Stage, Verdict};

/// A request that keeps what is left, and where.
fn keeping(tiny: &Tiny, script: &str, bytes: u64) -> (Request, HostPath) {
    let to = tiny.make("kept");
    let keep = Some(Keep { to: to.clone(), bytes, files: 1000 });
    (Request { keep, ..tiny.build(script) }, to)
}

const MANY: u64 = 32 << 20;

fn entries(folder: impl AsRef<Path>) -> usize {
    fs::read_dir(folder).expect("a folder").count()
}

in_every_mode! {
    fn what_a_failed_command_leaves_is_there_as_it_was() {
        let tiny = Tiny::new();
        let script = "umask 0; cd /build; mkdir -p deep/er closed; echo text > deep/er/file; \
            chmod 0751 deep/er; touch -d '2001-02-03 04:05:06' deep/er/file deep/er; \
            ln deep/er/file second; ln -s /etc/passwd link; mkfifo pipe; echo x > closed/y; \
            chmod 0 closed; printf a > holes; truncate -s 100G holes; printf z >> holes; \
            echo t > /tmp/t; echo v > /var/tmp/v; echo r > /run/r; echo s > /dev/shm/s; exit 3";
        let (request, kept) = keeping(&tiny, script, MANY);
        let (outcome, log) = run(&request);
        let outcome = outcome.expect("a run");
        assert_eq!(outcome.verdict, Verdict::Failed(3), "{log}");
        assert!(matches!(outcome.kept, Some(Keeping::Kept { .. })), "{:?}", outcome.kept);
        let at = |path: &str| kept.join(path);
        let file = fs::metadata(at("build/deep/er/file")).expect("a file");
        assert_eq!(fs::read(at("build/second")).expect("its other name"), b"text\n");
        assert_eq!(file.nlink(), 2);
        assert_eq!(file.mtime(), 981_173_106);
        let folder = fs::metadata(at("build/deep/er")).expect("a folder");
        assert_eq!((folder.mode() & 0o7777, folder.mtime()), (0o751, 981_173_106));
        let link = fs::read_link(at("build/link")).expect("a link");
        assert_eq!(link, Path::new("/etc/passwd"));
        let pipe = fs::metadata(at("build/pipe")).expect("a pipe");
        assert!(pipe.file_type().is_fifo());
        let holes = fs::metadata(at("build/holes")).expect("a file");
        assert_eq!(holes.len(), (100 << 30) + 1);
        assert!(holes.blocks() < 1000, "{} blocks", holes.blocks());
        for (path, text) in [("tmp/t", "t"), ("var-tmp/v", "v"), ("run/r", "r"), ("dev-shm/s", "s")] {
            assert_eq!(fs::read_to_string(at(path)).expect(path).trim(), text);
        }
        let closed = fs::metadata(at("build/closed")).expect("a folder").mode() & 0o777;
        assert_eq!(closed, 0);

        // A later guest finds it, and what that one leaves stays too.
        let again = |script: &str| {
            let request = Request { scratch: Scratch::Disk(kept.clone()), ..tiny.build(script) };
            let (outcome, log) = run(&request);
            (outcome.expect("a run").verdict, log)
        };
        let script = "cat deep/er/file /tmp/t /var/tmp/v /run/r /dev/shm/s; chmod 755 closed; \
            cat closed/y; echo more > more";
        assert_eq!(again(script), (Verdict::Built, "text\nt\nv\nr\ns\nx\n".to_owned()));
        assert_eq!(again("cat more"), (Verdict::Built, "more\n".to_owned()));
    }

    fn nothing_is_kept_of_what_succeeds_is_too_large_or_was_called_off() {
        let tiny = Tiny::new();
        let (request, kept) = keeping(&tiny, "echo x > x", MANY);
        assert_eq!(run(&request).0.expect("a run").kept, None);
        assert_eq!(entries(&kept), 0);
        let (request, _) = keeping(&tiny, "head -c 3000000 /dev/zero > x; exit 1", 1 << 20);
        assert_eq!(run(&request).0.expect("a run").kept, Some(Keeping::TooLarge));

        // Told to stop, it keeps nothing.
        let tiny = Tiny::new();
        let (request, kept) = keeping(&tiny, "echo x > x; echo on; sleep 1000", MANY);
        let cancel = AtomicBool::new(false);
        struct Stopping<'a>(&'a AtomicBool);
        impl Write for Stopping<'_> {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.store(true, Ordering::Relaxed);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let outcome = executor().run(&request, &mut Stopping(&cancel), &cancel).expect("a run");
        assert_eq!((outcome.verdict, outcome.kept), (Verdict::Cancelled, None));
        assert_eq!(entries(&kept), 0);

        // What was ended by a limit is kept.
        let tiny = Tiny::new();
        let (mut request, kept) = keeping(&tiny, "echo x > x; yes", MANY);
        request.limits.output = 100;
        let outcome = run(&request).0.expect("a run");
        assert_eq!(outcome.verdict, Verdict::OutOfOutput);
        assert!(matches!(outcome.kept, Some(Keeping::Kept { .. })), "{:?}", outcome.kept);
        assert!(fs::read(kept.join("build/x")).is_ok());
    }

    fn a_tree_that_nests_without_end_is_not_kept_and_does_no_harm() {
        let tiny = Tiny::new();
        let script = "i=0; while [ $i -lt 400 ]; do mkdir d && cd d || break; i=$((i+1)); done; exit 1";
        let (request, _) = keeping(&tiny, script, MANY);
        let kept = run(&request).0.expect("a run").kept;
        assert!(matches!(&kept, Some(Keeping::Failed(why)) if why.contains("deeper")), "{kept:?}");
    }

    fn an_experiment_writes_to_its_own_root_alone() {
        let tiny = Tiny::new();
        let stage = || Stage::Experiment { upper: tiny.make("over/upper"), work: tiny.make("over/work") };
        let run = |script: &str, stage: Stage| {
            let (outcome, log) = run(&Request { stage, ..tiny.build(script) });
            (outcome.expect("a run").verdict, log)
        };
        let write = "echo mine > /usr/mine && rm /usr/share/old/file && id -u";
        assert_eq!(run(write, stage()), (Verdict::Built, "1000\n".to_owned()));
        let look = "cat /usr/mine; ls /usr/share/old";
        assert_eq!(run(look, stage()), (Verdict::Built, "mine\n".to_owned()));
        let (verdict, log) = run("ls /usr/share/old; touch /usr/x", Stage::Build);
        assert!(verdict != Verdict::Built && log.starts_with("file\n"), "{log}");
        let original = fs::metadata(tiny.path("root/usr")).expect("a folder").permissions();
        assert!(original.mode() & 0o777 == 0o755 && !tiny.path("root/usr/mine").exists());
    }
}

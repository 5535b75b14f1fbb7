//! Builds that mean harm.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::modes;
use crate::tiny::{Tiny, assert_nothing_left, run, token};
use perestroika::base::HostPath;
use perestroika::sandbox::{Access, Collect, Mount, Request, Verdict};

/// Tries commands one by one: each must fail, or leave nothing behind by which the script could
/// tell that it did not.
#[track_caller]
fn refused(request: impl Fn(&Tiny, &str) -> Request, commands: &[&str]) {
    let tiny = Tiny::new();
    let tries: String = commands
        .iter()
        .map(|command| format!("if ({command}) </dev/null; then echo 'BREACH: {command}'; fi\n"))
        .collect();
    let (outcome, log) = run(&request(&tiny, &format!("{tries}echo all tried")));
    assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
    assert!(!log.contains("BREACH") && log.ends_with("all tried\n"), "{log}");
}

const ESCAPES: [&str; 26] = [
    "mount -t tmpfs none /tmp",
    "mount -o remount,rw /",
    "mount -o bind /build /etc",
    "umount /proc",
    "umount -l /etc",
    "unshare -U true",
    "unshare -m true",
    "unshare -r true",
    "unshare -n true",
    "nsenter -t 1 -m true",
    "pivot_root / /build",
    "ls /proc/1/root/",
    "ls /proc/1/cwd/",
    "cat /proc/1/environ",
    "dd if=/dev/zero of=/proc/1/mem bs=1 count=1 conv=notrunc",
    "echo x >/proc/sysrq-trigger",
    "echo x >/proc/sys/kernel/hostname",
    "echo '|/build/x' >/proc/sys/kernel/core_pattern",
    "echo -1000 >/proc/self/oom_score_adj",
    "hostname other",
    "date -s 2000-01-01; test \"$(date +%Y)\" = 2000",
    "kill -9 1 && ! kill -0 1",
    "ip link add dummy0 type dummy",
    "ifconfig lo down",
    "renice -n -5 $$",
    "test -e /sys/kernel",
];

in_every_mode! {
    fn a_build_cannot_leave() {
        refused(Tiny::build, &ESCAPES);
        refused(Tiny::build, &[
            "echo x >/etc/x",
            "echo x >/dev/x",
            "echo x >/sys/x",
            "rm /bin/sh",
            "touch /",
            "chroot / true",
            "chown 0:0 /build",
            "chown 5 /build",
            "chgrp 5 /build",
            "mknod /build/null c 1 3",
            "mknod /build/disk b 8 0",
            "setuidgid root true",
            "test \"$(id -u)\" = 0",
        ]);
    }

    fn configuring_cannot_leave() {
        refused(Tiny::configure, &ESCAPES);
        refused(Tiny::configure, &[
            // Both answer success; neither may have happened.
            "mknod /null c 1 3 && test -e /null",
            "echo x >/file; chown 5:5 /file && test \"$(stat -c %u:%g /file)\" != 0:0",
        ]);
    }

    fn the_network_is_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of this machine");
        let port = listener.local_addr().expect("its number").port();
        let here = format!("nc -w 2 127.0.0.1 {port}");
        refused(Tiny::build, &[
            &here,
            "wget -T 2 -O - http://192.0.2.1/",
            "nc -w 2 192.0.2.1 80",
            "nc -w 2 2001:db8::1 80",
            "ping -c 1 -W 1 192.0.2.1",
            "nslookup example.org",
            "test \"$(ls /proc/sys/net/ipv4/conf)\" != \"$(echo all; echo default; echo lo)\"",
        ]);
        let tiny = Tiny::new();
        let (outcome, log) = run(&tiny.build("nc -lp 9999 -e echo hello & sleep 0.2; nc localhost 9999"));
        assert_eq!((outcome.expect("a run").verdict, &*log), (Verdict::Built, "hello\n"));
    }

    fn killing_everything_kills_only_itself() {
        let (tiny, token) = (Tiny::new(), token());
        let script = format!("sleep {token} & kill -9 -1; kill -9 1; echo alive");
        let (outcome, log) = run(&tiny.build(&script));
        assert_nothing_left(&tiny, &token);
        assert_eq!((outcome.expect("a run").verdict, &*log), (Verdict::Built, "alive\n"));
    }

    fn set_id_bits_give_nothing() {
        let tiny = Tiny::new();
        let script = "cp /bin/busybox /build/id && chmod 6755 /build/id && ls -l /build/id | cut -c 1-10
            /build/id -u; grep -E 'Cap(Prm|Eff|Bnd)|NoNewPrivs' /proc/self/status | tr -d '\\t'";
        let (outcome, log) = run(&tiny.build(script));
        assert_eq!(outcome.expect("a run").verdict, Verdict::Built);
        let none = "0000000000000000";
        let wanted = format!("-rwsr-sr-x\n1000\nCapPrm:{none}\nCapEff:{none}\nCapBnd:{none}\nNoNewPrivs:1\n");
        assert_eq!(log, wanted);
    }

    fn only_plain_files_are_collected() {
        let tiny = Tiny::new();
        let secret = tiny.path("secret");
        fs::write(&secret, "secret").expect("a file");
        let mut request = tiny.build(&format!("
            mkdir -p out/dir.deb; cd out; echo good >good.deb; echo other >other.txt
            echo hidden >.hidden.deb; chmod 0 good.deb
            ln -s {secret} link.deb; ln -s /etc/passwd inner.deb; mkfifo pipe.deb
            ln -s good.deb alias.deb; exit 3", secret = secret.display()));
        request.collect = Some(Collect {
            from: "/build/out".parse().expect("a guest path"),
            patterns: vec!["*.deb".into()],
            to: tiny.make("to"),
        });
        let outcome = run(&request).0.expect("a run");
        assert_eq!((outcome.verdict, outcome.collected), (Verdict::Failed(3), vec!["good.deb".into()]));
        let entries = fs::read_dir(tiny.path("to")).expect("a folder").count();
        assert_eq!((entries, fs::read_to_string(tiny.path("to/good.deb")).ok()), (1, Some("good\n".into())));
    }

    fn nothing_is_collected_through_a_link() {
        for script in ["ln -s /bin out", "ln -s /bin real; ln -s real out", "echo >out", ":"] {
            let tiny = Tiny::new();
            let mut request = tiny.build(script);
            request.collect = Some(Collect {
                from: "/build/out".parse().expect("a guest path"),
                patterns: vec!["*".into()],
                to: tiny.make("to"),
            });
            let outcome = run(&request).0.expect("a run");
            assert_eq!((outcome.verdict, outcome.collected), (Verdict::Built, vec![]), "{script}");
        }
    }

    fn a_file_that_claims_a_great_size_is_not_copied() {
        let tiny = Tiny::new();
        let mut request = tiny.build("dd if=/dev/zero of=a.deb bs=1 count=1 seek=1000000000000; echo b >b.deb");
        request.collect = Some(Collect {
            from: "/build".parse().expect("a guest path"),
            patterns: vec!["*.deb".into()],
            to: tiny.make("to"),
        });
        let outcome = run(&request).0.expect("a run");
        assert_eq!((outcome.verdict, outcome.collected), (Verdict::OutOfSpace, vec!["b.deb".into()]));
    }

    fn mounts_are_as_asked() {
        let tiny = Tiny::new();
        let (source, writable) = (tiny.make("source"), tiny.make("writable"));
        fs::write(source.join("file").as_path(), "text\n").expect("a file");
        tiny.hand_over(writable.as_path());
        let mut request = tiny.build("cat /build/in/file /run/one; echo x >/run/w/x
            echo x >/build/in/x || echo x >/run/one || rm /run/one || echo closed");
        for (source, target, access) in [
            (source.clone(), "/build/in", Access::ReadOnly),
            (source.join("file"), "/run/one", Access::ReadOnly),
            (writable.clone(), "/run/w", Access::Writable),
        ] {
            request.mounts.push(Mount { source, target: target.parse().expect("a path"), access });
        }
        let (outcome, log) = run(&request);
        assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
        assert!(log.starts_with("text\ntext\n") && log.ends_with("closed\n"), "{log}");
        assert_eq!(fs::read_to_string(writable.join("x").as_path()).ok().as_deref(), Some("x\n"));
    }

    fn no_mount_goes_through_a_link_of_another() {
        let tiny = Tiny::new();
        let source = tiny.make("source");
        std::os::unix::fs::symlink("/", source.join("out").as_path()).expect("a link");
        let mut request = tiny.build(":");
        for target in ["/build/in", "/build/in/out/tmp/in"] {
            request.mounts.push(Mount {
                source: source.clone(),
                target: target.parse().expect("a path"),
                access: Access::ReadOnly,
            });
        }
        let error = run(&request).0.expect_err("a refusal").to_string();
        assert!(error.contains("/build/in/out/tmp/in"), "{error}");
        assert!(!Path::new("/tmp/in").exists());
    }

    fn what_is_wrong_with_a_request_is_said() {
        let tiny = Tiny::new();
        let good = tiny.build(":");
        let cases: [(&str, Request); 5] = [
            ("no layer", Request { layers: vec![], ..good.clone() }),
            ("no absolute path", Request { argv: vec!["sh".into()], ..good.clone() }),
            ("`TZ`", Request { env: [("TZ".into(), "CET".into())].into(), ..good.clone() }),
            ("cannot run `/bin/none`", Request { argv: vec!["/bin/none".into()], ..good.clone() }),
            ("nowhere", Request { layers: vec![HostPath::new("/nowhere")], ..good.clone() }),
        ];
        for (words, request) in cases {
            let error = run(&request).0.expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(run(&good).0.expect("a run").verdict, Verdict::Built);
    }
}

in_every_mode! {
    fn device_nodes_of_a_layer_are_dead() {
        let tiny = Tiny::new();
        let node = tiny.path("root/etc/node");
        // Only root of the initial namespace can make such a layer.
        if !perestroika::sandbox::native::is_initial_root() {
            if modes::now().is_none() {
                modes::root_only("device_nodes_of_a_layer_are_dead");
            }
            return;
        }
        let made = std::process::Command::new("mknod").arg(&node).args(["c", "1", "5"]).status();
        assert!(made.expect("mknod").success());
        tiny.hand_over(&node);
        let (outcome, log) = run(&tiny.build("head -c 1 /etc/node"));
        assert_eq!(outcome.expect("a run").verdict, Verdict::Failed(1));
        assert!(log.contains("Permission denied"), "{log}");
    }
}

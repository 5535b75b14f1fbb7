//! What every command in a sandbox can rely on.

#[path = "common/sandbox.rs"]
mod common;

use common::{Tiny, run};
use perestroika::sandbox::Verdict;

#[test]
fn a_command_prints_and_ends_with_its_code() {
    let tiny = Tiny::new();
    for (script, verdict) in [
        ("echo out; echo err >&2", Verdict::Built),
        ("echo out; echo err >&2; exit 7", Verdict::Failed(7)),
        ("echo out; echo err >&2; kill -TERM $$", Verdict::Signalled(15)),
    ] {
        let (outcome, log) = run(&tiny.build(script));
        let outcome = outcome.expect("a run");
        assert_eq!((outcome.verdict, &*log), (verdict, "out\nerr\n"), "{script}");
    }
}

#[test]
fn what_is_configured_becomes_a_layer() {
    let tiny = Tiny::new();
    let script = "id -u; rm -r /usr/share/old && mkdir /usr/share/old && ls -A /usr/share/old
        echo new >/etc/new; chown 5:7 /etc/new && mknod /etc/device c 1 3 && stat -c %u:%g /etc/new";
    let (outcome, log) = run(&tiny.configure(script));
    assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
    assert_eq!(log, "0\n0:0\n");
    let new = std::fs::read_to_string(tiny.path("layer/upper/etc/new")).expect("a file");
    assert_eq!(new, "new\n");
}

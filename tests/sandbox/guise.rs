//! What a guest is told otherwise than the contract says, and that nothing else changes.

use perestroika::sandbox::{Error, Guise, Kernel, Verdict};

use crate::tiny::{Tiny, run};

const SCRIPT: &str = "hostname; grep varied-host /etc/hosts; grep :1000: /etc/passwd; umask; \
                      echo $TZ $LC_ALL; uname -r; id -u";

in_every_mode! {
    fn a_guise_is_seen_and_the_kernel_is_told_older() {
        let tiny = Tiny::new();
        let mut request = tiny.build(SCRIPT);
        request.guise = Guise {
            host_name: "varied-host".to_owned(),
            user_name: "varied".to_owned(),
            locale: "C".to_owned(),
            time_zone: "<+14>-14".to_owned(),
            umask: 0o002,
            kernel: Kernel::Older,
        };
        let (outcome, log) = run(&request);
        assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(
            lines[..3],
            ["varied-host", "127.0.1.1\tvaried-host", "varied:x:1000:1000::/nonexistent:/bin/sh"]
        );
        assert_eq!(lines[3..5], ["0002", "<+14>-14 C"]);
        assert!(lines[5].starts_with("2.6."), "{log}");
        assert_eq!(lines[6], "1000", "the id is no part of it");
    }

    fn a_guise_whose_name_would_write_more_than_a_name_is_refused() {
        let tiny = Tiny::new();
        for name in ["", "a b", "root:x:0:0::/:/bin/sh\nx", "x/y"] {
            let mut request = tiny.build("true");
            request.guise.user_name = name.to_owned();
            let (outcome, _) = run(&request);
            assert!(matches!(outcome, Err(Error::Request(_))), "{name:?}");
        }
    }
}

//! Roots of several layers.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::modes;
use crate::tiny::{Tiny, run};
use perestroika::base::HostPath;
use perestroika::sandbox::{Request, Scratch, Stage, Verdict};

/// A layer with one file, at a path as long as a deep store's, with what overlayfs's options
/// give a meaning to.
fn layer(tiny: &Tiny, number: usize) -> HostPath {
    // Podman takes neither comma nor colon.
    let odd = match modes::now().is_some_and(|mode| mode.starts_with("podman")) {
        true => "layers of a\\store",
        false => "layers,of:a\\store",
    };
    let deep = format!("{odd}/{}/{number}", "long".repeat(50));
    let layer = tiny.make(&deep);
    fs::create_dir_all(layer.join("etc/d").as_path()).expect("a folder");
    fs::write(layer.join(format!("etc/d/{number}")).as_path(), "").expect("a file");
    fs::write(layer.join("etc/highest").as_path(), format!("{number}\n")).expect("a file");
    tiny.hand_over(layer.as_path());
    layer
}

in_every_mode! {
    fn hundreds_of_layers_are_one_root() {
        let tiny = Tiny::new();
        let script = "ls /etc/d | wc -l; cat /etc/highest; tail -n 1 /etc/passwd";
        let more = |mut request: Request| {
            request.layers.extend((1..=300).map(|number| layer(&tiny, number)));
            request
        };
        let (outcome, log) = run(&more(tiny.build(script)));
        assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
        assert_eq!(log, "300\n300\nbuilder:x:1000:1000::/nonexistent:/bin/sh\n");
        let (outcome, log) = run(&more(tiny.configure(script)));
        assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
        assert!(log.starts_with("300\n300\n"), "{log}");
    }

    fn a_layer_made_by_configuring_goes_on_top_of_the_others() {
        let tiny = Tiny::new();
        let script = "rm -r /usr/share/old && mkdir /usr/share/old && echo new >/usr/share/old/new
            echo changed >>/etc/group; rm /etc/passwd; mkdir /opt && echo x >/opt/x
            echo gone >/tmp/x; echo gone >/run/x; echo gone >/build/x; ln -s gone /dev/x";
        let request = tiny.configure(script);
        assert_eq!(run(&request).0.expect("a run").verdict, Verdict::Built);
        let Stage::Configure { upper, .. } = &request.stage else { unreachable!() };
        let mut names: Vec<_> = fs::read_dir(upper.as_path())
            .expect("a layer")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["etc", "opt", "usr"]);
        let owner = perestroika::sandbox::native::owner();
        let file = fs::metadata(upper.join("opt/x").as_path()).expect("a file");
        assert_eq!((file.uid(), file.gid()), owner);

        let mut build = tiny.build("ls /usr/share/old; cat /etc/group /opt/x; cat /etc/passwd");
        build.layers.push(upper.clone());
        let (outcome, log) = run(&build);
        assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
        let builder = "builder:x:1000:";
        let wanted = format!(
            "new\nroot:x:0:\nchanged\n{builder}\nx\n{builder}1000::/nonexistent:/bin/sh\n"
        );
        assert_eq!(log, wanted);
    }

    fn configuring_leaves_nothing_that_its_caller_cannot_remove() {
        let tiny = Tiny::new();
        for scratch in [Scratch::Memory, Scratch::Disk(tiny.make("scratch"))] {
            let request = Request { scratch, ..tiny.configure("rm -r /usr; mkdir /usr") };
            assert_eq!(run(&request).0.expect("a run").verdict, Verdict::Built);
            fs::remove_dir_all(tiny.path("layer")).expect("all can be removed");
        }
        fs::remove_dir_all(tiny.path("scratch")).expect("all can be removed");
    }
}

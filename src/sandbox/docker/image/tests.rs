use std::fs;
use std::io::{Cursor, Read};

use bollard::query_parameters::RemoveImageOptions;

use super::*;
use crate::sandbox::docker::trial::{engines, program};

/// A folder with a program of these bytes in it, and the image of that.
fn image(bytes: &[u8]) -> (tempfile::TempDir, Result<Image>) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = HostPath::new(folder.path());
    fs::write(place.join("program"), bytes).expect("a program");
    let image = Image::of(&place.join("program"), &place.join("memory"));
    (folder, image)
}

fn archive(image: &Image) -> Vec<u8> {
    image.archive().collect::<io::Result<Vec<_>>>().expect("an archive").concat()
}

type File = (String, tar::Header, Vec<u8>);

fn files(archive: &[u8]) -> Vec<File> {
    let mut archive = tar::Archive::new(Cursor::new(archive));
    let entries = archive.entries().expect("a tar file");
    let read = |entry: io::Result<tar::Entry<_>>| {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its content");
        (name, entry.header().clone(), content)
    };
    entries.map(read).collect()
}

#[test]
fn the_image_holds_the_program_and_nothing_else() {
    // Longer than a piece, and not whole blocks.
    let bytes = program(&[1, 2], &vec![7; PIECE as usize + 1000]);
    let (_folder, image) = image(&bytes);
    let image = image.expect("an image");
    let archive = archive(&image);
    assert_eq!(archive.len() % BLOCK as usize, 0);
    let files = files(&archive);
    let names: Vec<_> = files.iter().map(|(name, ..)| name.as_str()).collect();
    let id = image.id();
    let configuration = format!("{}.json", id.trim_start_matches("sha256:"));
    assert_eq!(names, ["manifest.json", &configuration, "layer.tar"]);
    assert_eq!(format!("sha256:{}", Sha256::of(&files[1].2)), id);
    let layer = Sha256::of(&files[2].2);
    assert!(String::from_utf8_lossy(&files[1].2).contains(&format!("sha256:{layer}")));
    let inside = self::files(&files[2].2);
    let [(name, header, content)] = &inside[..] else { panic!("{} files", inside.len()) };
    assert_eq!((name.as_str(), header.mode().ok()), ("perestroika", Some(0o555)));
    let numbers = [header.uid(), header.gid(), header.mtime()].map(|number| number.ok());
    assert_eq!(numbers, [Some(0); 3]);
    assert!(*content == bytes, "the program is another");
}

#[test]
fn the_same_program_is_the_same_image_for_ever() {
    let content = program(&[1], b"content");
    let (_first, one) = image(&content);
    let (_second, other) = image(&content);
    let (one, other) = (one.expect("an image"), other.expect("an image"));
    assert_eq!(one.id(), "sha256:ced6720e478f162fb7420ee9e2ed4f55aa6bfcf39d689b2cbb855f88a73781a3");
    assert_eq!(one.name(), "perestroika/tool:ced6720e478f162f");
    assert!(archive(&one) == archive(&other), "two archives of one program");
}

#[test]
fn only_static_programs_become_images() {
    #[track_caller]
    fn check(bytes: &[u8], because: &str) {
        let (_folder, image) = image(bytes);
        let Err(error) = image else { panic!("an image of {because}") };
        let source = std::error::Error::source(&error).expect("a reason").to_string();
        assert!(source.contains(because), "{source}");
        assert!(error.to_string().contains("cargo build --release"), "{error}");
    }
    check(b"", "no ELF program");
    check(b"#!/bin/sh\n", "no ELF program");
    check(&program(&[1, 3, 2], b""), "linked dynamically");
    check(&program(&[1, 1, 1], b"")[..100], "beyond its end");
    let mut far = program(&[1], b"");
    far[32..40].fill(0xff);
    check(&far, "beyond its end");
    let mut other = program(&[1], b"");
    other[18] = 8;
    check(&other, "machine is number 8");
}

#[test]
fn the_digest_is_remembered_as_long_as_the_file_is_the_same() {
    let (folder, first) = image(&program(&[1], b"one"));
    let first = first.expect("an image");
    let place = HostPath::new(folder.path());
    let again = || Image::of(&place.join("program"), &place.join("memory")).expect("an image");
    let memories = || fs::read_dir(place.join("memory")).expect("a folder").collect::<Vec<_>>();
    let [Ok(memory)] = &memories()[..] else { panic!("one memory") };
    let memory = memory.path();
    // What is remembered counts, so a start reads nothing of the program but its first bytes.
    let text = fs::read_to_string(&memory).expect("a memory");
    let (state, _) = text.split_once('\n').expect("two lines");
    fs::write(&memory, format!("{state}\n{}", Sha256::of(b"other"))).expect("a memory");
    assert_eq!(again().layer, Sha256::of(b"other"));
    fs::write(&memory, "damaged").expect("a memory");
    assert_eq!(again().id(), first.id());
    fs::write(place.join("new"), program(&[1], b"two")).expect("a program");
    fs::rename(place.join("new"), place.join("program")).expect("another program");
    let second = again();
    assert_ne!(second.id(), first.id());
    assert_eq!(memories().len(), 1);
    // The first image still is what it was named.
    let layer = files(&archive(&first)).remove(2).2;
    assert_eq!(Sha256::of(&layer), first.layer);
}

#[test]
fn engines_name_the_image_as_it_names_itself() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    for client in engines() {
        let unique = format!("{:?} {}", std::time::SystemTime::now(), std::process::id());
        let (_folder, image) = image(&program(&[1], unique.as_bytes()));
        let image = image.expect("an image");
        runtime.block_on(async {
            assert_eq!(image.find(&client).await.expect("an answer"), None);
            let (first, second) =
                futures_util::future::join(image.ensure(&client), image.ensure(&client)).await;
            let id = first.expect("a loaded image");
            assert_eq!(id, image.id());
            assert_eq!(second.expect("a loaded image"), id);
            let others = outdated(&client, "sha256:none").await.expect("a list");
            assert!(others.contains(&id), "{id} is not in {others:?}");
            assert!(!outdated(&client, &id).await.expect("a list").contains(&id));
            let removed = client.remove_image(&id, None::<RemoveImageOptions>, None).await;
            removed.expect("an image to remove");
            assert_eq!(image.find(&client).await.expect("an answer"), None);
        });
    }
}

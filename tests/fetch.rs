//! Fetching from a real web server on this host that serves a real archive, and misbehaves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod gnupg;
mod upstream;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use perestroika::archive::deb::index::packages;
use perestroika::archive::deb::release::ReleaseFile;
use perestroika::archive::deb::signature::verify;
use perestroika::base::{HostPath, Sha256};
use perestroika::fetch::{
    self, Client, Error, Index, Mirrors, Network, Patience, Places, PoolFile, Search, Stage,
};
use perestroika::store::{Object, Store};
use upstream::{Archive, Behaviour};

const PACKAGES: &str = "main/binary-amd64/Packages";
static NEVER: &AtomicBool = {
    static NEVER: AtomicBool = AtomicBool::new(false);
    &NEVER
};

/// An archive, an empty store, and what was locked of the archive.
struct Scene {
    archive: Archive,
    store: Store,
    folder: tempfile::TempDir,
    locked: ReleaseFile,
    evidence: Sha256,
}

impl Scene {
    fn new() -> Self {
        let archive = Archive::new();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&HostPath::new(folder.path().join("store"))).unwrap();
        let file = archive.in_release();
        let text = verify(&file, &archive.keyring(), Timestamp::now()).unwrap().text;
        let locked = ReleaseFile::parse(&text).unwrap();
        Self { archive, store, folder, locked, evidence: Sha256::of(&file) }
    }

    fn client(&self) -> Client {
        Client::new(Network::Online, impatient())
    }

    fn search(&self, given: &[&str]) -> Search {
        Search {
            archive: "test".to_owned(),
            suites: vec!["stable".to_owned()],
            keyring: self.archive.keyring(),
            given: given.iter().map(|url| (*url).to_owned()).collect(),
            release: Vec::new(),
            places: Places::default(),
        }
    }

    fn mirrors(&self) -> Mirrors {
        Mirrors::new(self.search(&[&self.archive.server.url]))
    }

    fn index(&self) -> Result<Object, Error> {
        self.index_from(&self.client(), &self.mirrors())
    }

    fn index_from(&self, client: &Client, mirrors: &Mirrors) -> Result<Object, Error> {
        let (size, sha256) = self.locked.files[PACKAGES];
        let index = Index {
            suite: "stable",
            path: PACKAGES,
            expected: Some((sha256, size)),
            release: &self.locked,
            evidence: self.evidence,
        };
        fetch::index(&self.store, client, mirrors, &index, NEVER)
    }

    fn files(&self) -> Vec<PoolFile> {
        let index = self.index().unwrap();
        let text = String::from_utf8(self.store.read(&index.digest).unwrap()).unwrap();
        let packages = packages(&text).unwrap();
        let file = |package: &perestroika::archive::deb::index::BinaryPackage| PoolFile {
            path: package.filename.clone(),
            size: package.size,
            sha256: package.sha256,
        };
        packages.iter().map(|package| file(package)).collect()
    }

    fn pool(&self, file: &PoolFile) -> Result<Object, Error> {
        fetch::pool(&self.store, &self.client(), &self.mirrors(), file, NEVER)
    }
}

fn impatient() -> Patience {
    Patience { stall: Duration::from_millis(500), attempts: 3, pause: Duration::from_millis(10) }
}

#[test]
fn an_index_is_fetched_by_its_digest_once() {
    let scene = Scene::new();
    let first = scene.index().unwrap();
    assert_eq!((first.size, first.sha256), scene.locked.files[PACKAGES]);
    let expected = format!("/debian/{}", scene.archive.by_hash(&format!("{PACKAGES}.xz")));
    assert_eq!(scene.archive.server.requests(), [expected]);
    assert_eq!(scene.index().unwrap(), first);
    assert_eq!(scene.archive.server.requests(), [""; 0]);
    let offline = Client::new(Network::Offline, impatient());
    assert_eq!(scene.index_from(&offline, &scene.mirrors()).unwrap(), first);
}

#[test]
fn an_index_stays_reachable_by_its_digest_when_the_suite_moves_on() {
    let scene = Scene::new();
    scene.archive.publish("2.0-1");
    assert!(scene.index().is_ok());
}

#[test]
fn an_index_that_moved_on_is_told_apart_from_one_that_was_tampered_with() {
    let scene = Scene::new();
    let by_hash = scene.archive.by_hash(&format!("{PACKAGES}.xz"));
    scene.archive.server.behave(&by_hash, Behaviour::Status(404));
    assert!(scene.index().is_ok(), "the same bytes lie under their name");

    let scene = Scene::new();
    let by_hash = scene.archive.by_hash(&format!("{PACKAGES}.xz"));
    scene.archive.publish("2.0-1");
    scene.archive.server.behave(&by_hash, Behaviour::Status(404));
    let error = scene.index().unwrap_err();
    let Error::Moved(moved) = &error else { panic!("{error:?}") };
    assert_eq!(moved.pinned, scene.locked.files[PACKAGES].1);
    assert!(error.to_string().contains("moved on"), "{error}");
    // A bank that has moved on may have what it had before under its digest.
    let mut text = Vec::new();
    let xz = scene.archive.root().join(&by_hash);
    liblzma::read::XzDecoder::new(fs::File::open(xz).unwrap()).read_to_end(&mut text).unwrap();
    let by_digest = format!("{}{}", fetch::BY_DIGEST, moved.pinned);
    scene.archive.server.behave(&by_digest, Behaviour::Replace(text));
    assert_eq!(scene.index().unwrap().sha256, moved.pinned);

    let scene = Scene::new();
    let name = format!("{PACKAGES}.xz");
    let by_hash = scene.archive.by_hash(&name);
    let original = fs::read(scene.archive.root().join(&by_hash)).unwrap();
    let mut tampered = original.clone();
    tampered[20] ^= 1;
    let mut longer = original.clone();
    longer.push(0);
    for (path, bytes) in [
        (by_hash.clone(), tampered.clone()),
        (by_hash.clone(), original[1..].to_vec()),
        (by_hash.clone(), Vec::new()),
    ] {
        scene.archive.server.behave(&path, Behaviour::Replace(bytes));
        let error = scene.index().unwrap_err();
        assert!(matches!(error, Error::WrongDigest { .. }), "{error:?}");
        let lines: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
        assert!(lines[1].starts_with("  expected ") && lines[2].starts_with("  actual   "));
    }
    for behaviour in [Behaviour::Replace(longer), Behaviour::Endless] {
        scene.archive.server.behave(&by_hash, behaviour);
        let error = scene.index().unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    }
    scene.archive.server.behave(&by_hash, Behaviour::Status(404));
    let plain = format!("dists/stable/{name}");
    scene.archive.server.behave(&plain, Behaviour::Replace(tampered));
    let error = scene.index().unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error:?}");
    scene.archive.server.behave(&plain, Behaviour::Status(404));
    let gzip = format!("{PACKAGES}.gz");
    for path in [scene.archive.by_hash(&gzip), format!("dists/stable/{gzip}")] {
        scene.archive.server.behave(&path, Behaviour::Status(404));
    }
    let error = scene.index().unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains("snapshots"), "{error}");
    let (_, sha256) = scene.locked.files[PACKAGES];
    assert_eq!(scene.store.find(&sha256).unwrap(), None, "nothing wrong entered the store");
    scene.archive.server.heal();
    assert!(scene.index().is_ok());
}

#[test]
fn a_compressed_index_cannot_unpack_to_more_than_was_signed() {
    let mut scene = Scene::new();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b'a'; 64 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let name = format!("{PACKAGES}.gz");
    let digest = Sha256::of(&bomb);
    fs::write(scene.archive.root().join(format!("dists/stable/{name}")), &bomb).unwrap();
    scene.locked.files.remove(&format!("{PACKAGES}.xz"));
    scene.locked.files.insert(name, (bomb.len() as u64, digest));
    let error = scene.index().unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");

    let garbage = b"no gzip at all".to_vec();
    let name = format!("{PACKAGES}.gz");
    scene.locked.files.insert(name.clone(), (garbage.len() as u64, Sha256::of(&garbage)));
    fs::write(scene.archive.root().join(format!("dists/stable/{name}")), &garbage).unwrap();
    let error = scene.index().unwrap_err();
    assert!(matches!(error, Error::Unpack { .. }), "{error:?}");
}

#[test]
fn gzip_and_plain_indexes_do_as_well() {
    let mut scene = Scene::new();
    scene.locked.files.remove(&format!("{PACKAGES}.xz"));
    scene.index().unwrap();
    assert!(scene.archive.server.requests().iter().all(|path| !path.ends_with(".xz")));

    let mut scene = Scene::new();
    scene.locked.files.retain(|path, _| !path.contains("Packages."));
    let plain = format!("dists/stable/{PACKAGES}");
    let error = scene.index().unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    let xz = fs::read(scene.archive.root().join(format!("{plain}.xz"))).unwrap();
    let mut text = Vec::new();
    std::io::copy(&mut liblzma::read::XzDecoder::new(&xz[..]), &mut text).unwrap();
    fs::write(scene.archive.root().join(&plain), text).unwrap();
    assert!(scene.index().is_ok());
}

#[test]
fn a_mirror_need_not_have_every_compression_that_is_listed() {
    let scene = Scene::new();
    let xz = format!("{PACKAGES}.xz");
    for path in [scene.archive.by_hash(&xz), format!("dists/stable/{xz}")] {
        scene.archive.server.behave(&path, Behaviour::Status(404));
    }
    assert_eq!(scene.index().unwrap().sha256, scene.locked.files[PACKAGES].1);
    let last = scene.archive.server.requests().pop().unwrap();
    assert!(last.ends_with(&scene.archive.by_hash(&format!("{PACKAGES}.gz"))), "{last}");
}

#[test]
fn what_a_mirror_lacks_under_its_name_it_may_have_under_its_digest() {
    let scene = Scene::new();
    let files = scene.files();
    let file = &files[0];
    let bytes = fs::read(scene.archive.root().join(&file.path)).unwrap();
    scene.archive.server.behave(&file.path, Behaviour::Status(404));
    let by_digest = format!("{}{}", fetch::BY_DIGEST, file.sha256);
    scene.archive.server.behave(&by_digest, Behaviour::Replace(b"other".to_vec()));
    let error = scene.pool(file).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    scene.archive.server.behave(&by_digest, Behaviour::Replace(bytes));
    assert_eq!(scene.pool(file).unwrap().sha256, file.sha256);
}

#[test]
fn pool_files_come_in_parallel_and_only_once() {
    let scene = Scene::new();
    let files = scene.files();
    assert_eq!(files.len(), 3);
    scene.archive.server.requests();
    let last = std::sync::Mutex::new(None);
    let progress = |now| *last.lock().unwrap() = Some(now);
    let many = |jobs| {
        let (client, mirrors) = (scene.client(), scene.mirrors());
        fetch::pool_many(&scene.store, &client, &mirrors, &files, jobs, &progress, NEVER)
    };
    let objects = many(8).unwrap();
    for (object, file) in objects.iter().zip(&files) {
        assert_eq!((object.sha256, object.size), (file.sha256, file.size));
        assert_eq!(scene.store.read(&object.digest).unwrap().len() as u64, file.size);
    }
    let last = last.into_inner().unwrap().unwrap();
    assert_eq!((last.files_done, last.files, last.stage), (3, 3, Stage::Storing));
    assert_eq!((last.bytes_done, last.bytes), (last.bytes, files.iter().map(|f| f.size).sum()));
    let mut requests = scene.archive.server.requests();
    requests.sort();
    assert_eq!(requests.len(), 3);
    assert!(requests[2].ends_with("/g++-beta_1.0-1_amd64.deb"), "{requests:?}");
    let nothing = |_| panic!("there is nothing to fetch");
    let (client, mirrors) = (scene.client(), scene.mirrors());
    let again = fetch::pool_many(&scene.store, &client, &mirrors, &files, 2, &nothing, NEVER);
    assert_eq!(again.unwrap(), objects);
    assert_eq!(scene.archive.server.requests(), [""; 0]);
}

#[test]
fn faults_of_the_server_are_tried_again_and_then_told_apart() {
    let scene = Scene::new();
    let files = scene.files();
    let server = &scene.archive.server;
    let file = &files[0];
    let check = |behaviour: Behaviour, expected: &str| {
        server.requests();
        server.behave(&file.path, behaviour.clone());
        let error = scene.pool(file).unwrap_err();
        let shown = format!("{error}: {:?}", std::error::Error::source(&error));
        assert!(format!("{error:?}").starts_with(expected), "{behaviour:?}: {shown}");
        assert_eq!(scene.store.find(&file.sha256).unwrap(), None);
        server.requests().len()
    };
    // What is missing under its name is asked for under its digest.
    assert_eq!(check(Behaviour::Status(404), "Missing"), 2);
    assert_eq!(check(Behaviour::Status(410), "Missing"), 2);
    assert_eq!(check(Behaviour::Status(403), "Status"), 1);
    assert_eq!(check(Behaviour::Status(503), "Unreachable"), 3);
    assert_eq!(check(Behaviour::Truncate, "Unreachable"), 3);
    assert_eq!(check(Behaviour::Drip, "Unreachable"), 3);
    assert_eq!(check(Behaviour::Silence, "Unreachable"), 3);
    assert_eq!(check(Behaviour::Replace(vec![0; 10]), "WrongDigest"), 1);
    let size = usize::try_from(file.size).unwrap();
    assert_eq!(check(Behaviour::Replace(vec![0; size]), "WrongDigest"), 1);
    assert_eq!(check(Behaviour::Replace(vec![0; size + 1]), "TooLarge"), 1);
    assert_eq!(check(Behaviour::Endless, "TooLarge"), 1);
    let itself = format!("/debian/{}", file.path);
    assert_eq!(check(Behaviour::Redirect(itself), "Redirect"), 6);
    assert_eq!(check(Behaviour::Redirect("file:///etc/passwd".into()), "Redirect"), 1);
    assert_eq!(check(Behaviour::Redirect(String::new()), "Redirect"), 1);

    server.behave(&file.path, Behaviour::Fails(2, 503));
    assert!(scene.pool(file).is_ok(), "the third attempt succeeds");
    server.behave("elsewhere", Behaviour::Redirect("/debian/further".into()));
    let bytes = fs::read(scene.archive.root().join(&files[1].path)).unwrap();
    server.behave("further", Behaviour::Replace(bytes));
    server.behave(&files[1].path, Behaviour::Redirect(format!("{}/elsewhere", server.url)));
    assert!(scene.pool(&files[1]).is_ok(), "two steps are few");
}

#[test]
fn one_bad_file_stops_the_rest_and_what_came_is_kept() {
    let scene = Scene::new();
    let files = scene.files();
    scene.archive.server.behave(&files[2].path, Behaviour::Status(404));
    let (client, mirrors) = (scene.client(), scene.mirrors());
    let error =
        fetch::pool_many(&scene.store, &client, &mirrors, &files, 1, &|_| {}, NEVER).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains(&files[2].path), "{error}");
    assert!(error.to_string().contains(&files[2].sha256.to_string()), "{error}");
    assert!(scene.store.find(&files[0].sha256).unwrap().is_some());
    assert!(scene.store.find(&files[2].sha256).unwrap().is_none());
}

#[test]
fn a_cancelled_fetch_ends_at_once() {
    let scene = Scene::new();
    let files = scene.files();
    scene.archive.server.behave(&files[0].path, Behaviour::Drip);
    let cancel = AtomicBool::new(false);
    let (client, mirrors) = (Client::new(Network::Online, Patience::default()), scene.mirrors());
    let progress = |_| cancel.store(true, Ordering::Relaxed);
    let error = fetch::pool_many(&scene.store, &client, &mirrors, &files, 1, &progress, &cancel);
    assert!(matches!(error, Err(Error::Cancelled)), "{error:?}");
}

#[test]
fn a_second_mirror_stands_in_for_the_first() {
    let scene = Scene::new();
    let files = scene.files();
    let other = upstream::Server::new();
    let mirrors = Mirrors::new(scene.search(&[&other.url, &scene.archive.server.url]));
    let get = |file| fetch::pool(&scene.store, &scene.client(), &mirrors, file, NEVER);
    assert!(get(&files[0]).is_ok(), "the first has nothing");
    other.behave(&files[1].path, Behaviour::Replace(b"wrong".to_vec()));
    assert!(get(&files[1]).is_ok(), "the first has other bytes");
    scene.archive.server.behave(&files[2].path, Behaviour::Status(404));
    let error = get(&files[2]).unwrap_err();
    let Error::Missing { urls, .. } = &error else { panic!("{error:?}") };
    assert_eq!(urls.len(), 2);
}

#[test]
fn a_folder_of_this_host_is_a_mirror_too() {
    let scene = Scene::new();
    let folder = format!("file://{}", scene.archive.root().display());
    let mirrors = Mirrors::new(scene.search(&[&folder]));
    scene.index_from(&scene.client(), &mirrors).unwrap();
    let files = scene.files();
    assert!(fetch::pool(&scene.store, &scene.client(), &mirrors, &files[2], NEVER).is_ok());
    fs::remove_file(scene.archive.root().join(&files[0].path)).unwrap();
    let error = fetch::pool(&scene.store, &scene.client(), &mirrors, &files[0], NEVER);
    assert!(matches!(error, Err(Error::Missing { .. })), "{error:?}");
    assert_eq!(scene.archive.server.requests(), [""; 0]);
}

#[test]
fn offline_names_what_is_missing_and_asks_nobody() {
    let scene = Scene::new();
    let offline = Client::new(Network::Offline, impatient());
    let nowhere = Mirrors::new(scene.search(&[]));
    let error = scene.index_from(&offline, &nowhere).unwrap_err();
    assert!(error.to_string().contains("dists/stable/main/binary-amd64/Packages"), "{error}");
    let file = PoolFile { path: "pool/x.deb".into(), size: 3, sha256: Sha256::of(b"abc") };
    let error = fetch::pool(&scene.store, &offline, &nowhere, &file, NEVER).unwrap_err();
    assert!(error.to_string().contains("pool/x.deb"), "{error}");
    let files = [file];
    let error = fetch::pool_many(&scene.store, &offline, &nowhere, &files, 2, &|_| {}, NEVER);
    assert!(matches!(error, Err(Error::Offline(_))), "{error:?}");
    let error = fetch::in_release(&offline, &nowhere, "stable", NEVER);
    assert!(matches!(error, Err(Error::Offline(_))), "{error:?}");
    scene.store.put(b"abc").unwrap();
    assert!(fetch::pool(&scene.store, &offline, &nowhere, &files[0], NEVER).is_ok());
}

#[test]
fn mirrors_are_found_in_five_ways_in_order() {
    let scene = Scene::new();
    let configuration = HostPath::new(scene.folder.path().join("config.toml"));
    let apt = HostPath::new(scene.folder.path().join("apt"));
    fs::create_dir_all(apt.join("sources.list.d")).unwrap();
    let url = scene.archive.server.url.as_str();
    let variable = BTreeMap::from([(
        "PERESTROIKA_MIRROR_TEST".to_owned(),
        "http://environment.example/a  http://environment.example/b/".to_owned(),
    )]);
    let mut search = scene.search(&["http://given.example/"]);
    search.places = Places {
        environment: variable,
        config: Some(configuration.clone()),
        apt: Some(apt.clone()),
    };
    search.release = vec!["https://release.example/debian".to_owned()];
    fs::write(&configuration, "[mirrors]\ntest = \"http://user.example\"\nx = [\"http://x\"]\n")
        .unwrap();
    let empty = upstream::Server::new();
    let foreign = Archive::new();
    let lines =
        [&empty.url, &foreign.server.url, url].map(|url| format!("deb {url} stable main\n"));
    fs::write(apt.join("sources.list"), lines.concat()).unwrap();

    let urls = |search: &Search| {
        let mirrors = Mirrors::new(search.clone());
        let found = mirrors.urls(&scene.client(), NEVER)?;
        Ok::<_, Error>(found.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(urls(&search).unwrap(), ["http://given.example"]);
    search.given.clear();
    let environment = ["http://environment.example/a", "http://environment.example/b"];
    assert_eq!(urls(&search).unwrap(), environment);
    search.places.environment.clear();
    assert_eq!(urls(&search).unwrap(), ["https://release.example/debian"]);
    search.release.clear();
    assert_eq!(urls(&search).unwrap(), ["http://user.example"]);
    fs::remove_file(&configuration).unwrap();
    assert_eq!(scene.archive.server.requests(), [""; 0], "nobody was asked so far");
    assert_eq!(urls(&search).unwrap(), [url], "only this one carries the suite, rightly signed");
    assert_eq!(scene.archive.server.requests(), ["/debian/dists/stable/InRelease"]);

    search.suites.push("other".to_owned());
    let error = urls(&search).unwrap_err();
    let shown = error.to_string();
    for part in [
        "--mirror test=URL",
        "PERESTROIKA_MIRROR_TEST",
        "release.toml",
        "config.toml",
        "apt",
        "no suite `other`",
        "not in the keyring",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    fs::write(&configuration, "[mirrors]\ntest = 1\n").unwrap();
    assert!(matches!(urls(&search), Err(Error::Configuration { .. })));
    fs::write(&configuration, "[mirrors]\ntest = \"ftp://x\"\n").unwrap();
    assert!(matches!(urls(&search), Err(Error::Url(_))));
}

#[test]
fn an_unreachable_mirror_is_an_error_of_the_machine() {
    let scene = Scene::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mirrors = Mirrors::new(scene.search(&[&format!("http://{port}/debian")]));
    let error = fetch::in_release(&scene.client(), &mirrors, "stable", NEVER).unwrap_err();
    let Error::Unreachable { attempts, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*attempts, 3);
    let bytes = fetch::in_release(&scene.client(), &scene.mirrors(), "stable", NEVER).unwrap();
    assert_eq!(bytes, scene.archive.in_release());
    scene.archive.server.behave("dists/stable/InRelease", Behaviour::Endless);
    let error = fetch::in_release(&scene.client(), &scene.mirrors(), "stable", NEVER);
    assert!(matches!(error, Err(Error::TooLarge { .. })), "{error:?}");
}

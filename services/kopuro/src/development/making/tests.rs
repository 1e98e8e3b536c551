use kopuro_core::time::{Clock as _, UnixMillis};
use kopuro_telemetry::clock::SystemClock;

use super::*;
use crate::config::Config;
use crate::development::{Development, Options, default_instance};

/// Everything that is moved out, in its order.
const MOVED: [&str; 8] =
    ["authority", "bootstrap", "gateways", "members", "registry", "systems", ANCHOR, CONFIG];

fn now() -> UnixMillis {
    SystemClock.now()
}

fn make(folder: &Path) -> Result<Development, DevelopmentError> {
    Development::make(folder, &default_instance(), now(), &Options::default())
}

/// A folder in which a making was cut short once everything was made.
fn whole() -> (tempfile::TempDir, Making) {
    let folder = tempfile::tempdir().unwrap();
    let making = Making::begin(folder.path()).unwrap();
    let made = Development::create(making.stage(), &default_instance(), now()).unwrap();
    made.configure(&Options::default()).unwrap();
    (folder, making)
}

fn assert_made(folder: &Path) {
    let development = make(folder).unwrap();
    let faults = Config::load(&development.config()).err();
    assert!(faults.is_none(), "{faults:?}");
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected = MOVED.map(str::to_owned);
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn a_making_cut_short_while_it_moves_out_is_brought_to_its_end() {
    for moved in 0..=MOVED.len() {
        let (folder, making) = whole();
        let key = fs::read(making.stage().join("authority/authority.key.pem")).unwrap();
        MOVED[..moved].iter().for_each(|name| making.move_out(name).unwrap());
        drop(making);
        assert_made(folder.path());
        assert_eq!(fs::read(folder.path().join("authority/authority.key.pem")).unwrap(), key, "{moved}");
    }
}

#[test]
fn a_making_cut_short_before_it_is_whole_is_begun_anew() {
    for cut in [CONFIG, ANCHOR, "authority/tls.crt.pem", "bootstrap", "systems/portal.key.pem"] {
        let (folder, making) = whole();
        let stale = making.stage().join("bootstrap/9999.record");
        fs::write(&stale, "half of it").unwrap();
        fs::remove_file(making.stage().join(CONFIG)).unwrap();
        let cut = making.stage().join(cut);
        if cut.is_dir() {
            fs::remove_dir_all(cut).unwrap();
        } else if cut.exists() {
            fs::remove_file(cut).unwrap();
        }
        drop(making);
        assert_made(folder.path());
        assert!(!folder.path().join("bootstrap/9999.record").exists());
    }
}

#[test]
fn what_stands_in_the_folder_stays() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("up.log"), "a log").unwrap();
    let development = make(folder.path()).unwrap();
    assert!(Config::load(&development.config()).is_ok());
    assert_eq!(fs::read(folder.path().join("up.log")).unwrap(), b"a log");
}

#[test]
fn what_stands_in_the_way_is_named_and_nothing_is_made() {
    for name in MOVED.into_iter().filter(|name| *name != CONFIG).chain([DATA]) {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join(name);
        fs::write(&own, "somebody's own").unwrap();
        let refused = make(folder.path()).unwrap_err();
        assert!(matches!(&refused, DevelopmentError::Occupied(path) if *path == own), "{refused:?}");
        assert!(refused.to_string().contains("choose another folder"));
        assert_eq!(fs::read(&own).unwrap(), b"somebody's own");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "{name}");
    }
}

#[test]
fn what_came_in_the_way_of_moving_out_is_not_overwritten() {
    let (folder, making) = whole();
    let own = folder.path().join(ANCHOR);
    fs::write(&own, "somebody's own").unwrap();
    assert!(matches!(making.finish(), Err(DevelopmentError::Occupied(path)) if path == own));
    assert_eq!(fs::read(&own).unwrap(), b"somebody's own");
    fs::remove_file(own).unwrap();
    assert_made(folder.path());
}

#[test]
fn a_file_is_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(make(&file), Err(DevelopmentError::Folder(path, _)) if path == file));
}

#[test]
fn one_process_at_a_time_makes() {
    let (folder, making) = whole();
    assert!(matches!(make(folder.path()), Err(DevelopmentError::Making(_))));
    drop(making);
    assert_made(folder.path());
}

#[test]
fn an_instance_that_was_made_meanwhile_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let first = make(folder.path()).unwrap();
    let key = fs::read(first.authority_key()).unwrap();
    let other = kopuro_core::id::Instance::parse("OTHER").unwrap();
    let found = Development::make(folder.path(), &other, now(), &Options::default()).unwrap();
    assert_eq!(found.instance(), first.instance());
    assert_eq!(fs::read(found.authority_key()).unwrap(), key);
}

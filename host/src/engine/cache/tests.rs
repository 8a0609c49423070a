use std::fs::set_permissions;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const CODE: &[u8] = b"what a compiler made of it";

fn origin(component: u8) -> Origin {
    Origin { component: [component; 32], settings: 7 }
}

/// A folder in another one, with the code of component 1 in it.
fn filled() -> (TempDir, Cache) {
    let outer = tempfile::tempdir().unwrap();
    let cache = Cache::new(&outer.path().join("cache"));
    cache.put(origin(1), CODE).unwrap();
    (outer, cache)
}

/// All files but the key.
fn names(cache: &Cache) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(&cache.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| !path.ends_with(KEY));
    names.sort();
    names
}

/// Asserts that the code of a component is refused, with its path, and removed.
#[track_caller]
fn is_refused(cache: &Cache, origin: Origin) {
    let path = cache.path(origin);
    let refused = cache.take(origin).unwrap_err();
    assert!(matches!(refused, CacheError::Forged { .. }), "{refused}");
    assert!(refused.to_string().starts_with(path.to_str().unwrap()), "{refused}");
    assert!(!path.exists());
}

#[test]
fn what_was_put_is_taken_until_the_next_start_and_after() {
    let (_outer, cache) = filled();
    assert_eq!(cache.take(origin(1)).unwrap().unwrap(), CODE);
    assert_eq!(Cache::new(&cache.folder).take(origin(1)).unwrap().unwrap(), CODE);
    assert!(cache.take(origin(2)).unwrap().is_none());
    assert!(cache.take(Origin { settings: 8, ..origin(1) }).unwrap().is_none());
    cache.put(origin(1), b"other code").unwrap();
    assert_eq!(cache.take(origin(1)).unwrap().unwrap(), b"other code");
}

#[test]
fn folder_files_and_key_are_their_owners_alone_and_nothing_else_is_left() {
    let (_outer, cache) = filled();
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(names(&cache), [cache.path(origin(1))]);
    assert_eq!((mode(&cache.folder), mode(&cache.path(origin(1)))), (0o700, 0o600));
    assert_eq!(mode(&cache.folder.join(KEY)), 0o600);
}

#[test]
fn a_flipped_bit_anywhere_is_refused_and_the_file_removed() {
    let (_outer, cache) = filled();
    let path = cache.path(origin(1));
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, bytes).unwrap();
        is_refused(&cache, origin(1));
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(cache.take(origin(1)).unwrap().unwrap(), CODE);
}

#[test]
fn a_file_of_any_other_length_is_refused_and_removed() {
    let (_outer, cache) = filled();
    let path = cache.path(origin(1));
    let whole = fs::read(&path).unwrap();
    let longer = [&*whole, b"!"].concat();
    for bytes in (0..whole.len()).map(|length| &whole[..length]).chain([&*longer]) {
        fs::write(&path, bytes).unwrap();
        is_refused(&cache, origin(1));
    }
}

#[test]
fn two_files_that_were_swapped_are_both_refused() {
    let (outer, cache) = filled();
    cache.put(origin(2), b"other code").unwrap();
    let (one, two, aside) = (cache.path(origin(1)), cache.path(origin(2)), outer.path().join("aside"));
    fs::rename(&one, &aside).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(&aside, &two).unwrap();
    is_refused(&cache, origin(1));
    is_refused(&cache, origin(2));
}

#[test]
fn code_for_other_settings_is_refused_under_this_name() {
    let (_outer, cache) = filled();
    let other = Origin { settings: 8, ..origin(1) };
    fs::rename(cache.path(origin(1)), cache.path(other)).unwrap();
    is_refused(&cache, other);
}

#[test]
fn code_that_another_key_marked_is_refused() {
    let ((_outer, cache), (_other, elsewhere)) = (filled(), filled());
    fs::copy(elsewhere.folder.join(KEY), cache.folder.join(KEY)).unwrap();
    is_refused(&cache, origin(1));
    cache.put(origin(1), CODE).unwrap();
    assert_eq!(cache.take(origin(1)).unwrap().unwrap(), CODE);
}

#[test]
fn nothing_is_loaded_from_or_kept_in_a_folder_that_others_may_enter() {
    let (_outer, cache) = filled();
    for mode in [0o777, 0o755, 0o750, 0o710, 0o702] {
        set_permissions(&cache.folder, Permissions::from_mode(mode)).unwrap();
        for refused in [cache.take(origin(1)).unwrap_err(), cache.put(origin(2), CODE).unwrap_err()] {
            assert!(matches!(refused, CacheError::Folder { mode: found, .. } if found == mode), "{refused}");
        }
    }
    set_permissions(&cache.folder, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(cache.take(origin(1)).unwrap().unwrap(), CODE);
    assert_eq!(names(&cache), [cache.path(origin(1))]);
}

#[test]
fn a_folder_that_a_volume_opened_to_a_group_is_emptied_gets_a_new_key_and_is_closed() {
    let (_outer, cache) = filled();
    let key = fs::read(cache.folder.join(KEY)).unwrap();
    fs::write(cache.folder.join("mac-key.new"), "prepared by somebody else").unwrap();
    fs::write(cache.folder.join("notes"), "no file of a cache").unwrap();
    set_permissions(&cache.folder, Permissions::from_mode(0o2770)).unwrap();
    assert!(cache.take(origin(1)).unwrap().is_none(), "code that others could write is not loaded");
    assert_eq!(names(&cache), [cache.folder.join("notes")]);
    assert_eq!(cache.folder.metadata().unwrap().mode() & 0o7777, 0o700);
    assert_ne!(fs::read(cache.folder.join(KEY)).unwrap(), key);
    cache.put(origin(1), CODE).unwrap();
    assert_eq!(cache.take(origin(1)).unwrap().unwrap(), CODE, "it is used again");
    set_permissions(&cache.folder, Permissions::from_mode(0o2777)).unwrap();
    assert!(matches!(cache.take(origin(1)).unwrap_err(), CacheError::Folder { mode: 0o777, .. }));
}

#[test]
fn a_link_to_a_folder_and_a_key_that_others_may_read_are_refused() {
    let (outer, cache) = filled();
    let link = outer.path().join("link");
    symlink(&cache.folder, &link).unwrap();
    let refused = Cache::new(&link).take(origin(1)).unwrap_err();
    assert!(matches!(refused, CacheError::Folder { .. }), "{refused}");
    set_permissions(cache.folder.join(KEY), Permissions::from_mode(0o660)).unwrap();
    let refused = cache.take(origin(1)).unwrap_err();
    assert!(matches!(refused, CacheError::Key(KeyFileError::Exposed { mode: 0o660, .. })), "{refused}");
}

#[test]
fn beyond_the_limit_the_files_go_that_were_not_used_for_longest() {
    let (_outer, mut cache) = filled();
    cache.limit_bytes = 3 * (CODE.len() + MARK_BYTES) as u64;
    let hour = Duration::from_secs(3600);
    for component in 2..=3 {
        cache.put(origin(component), CODE).unwrap();
    }
    for (component, hours) in [(1, 3), (2, 2), (3, 1)] {
        let file = File::open(cache.path(origin(component))).unwrap();
        file.set_modified(SystemTime::now() - hours * hour).unwrap();
    }
    cache.take(origin(1)).unwrap().unwrap();
    cache.put(origin(4), CODE).unwrap();
    let kept: Vec<u8> = (1..=4).filter(|component| cache.path(origin(*component)).exists()).collect();
    assert_eq!(kept, [1, 3, 4]);
    let larger = CODE.repeat(10);
    cache.put(origin(5), &larger).unwrap();
    assert_eq!(names(&cache), [cache.path(origin(5))], "what was kept just now stays");
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let (_outer, cache) = filled();
    // A folder that is not empty cannot be replaced by a file.
    fs::create_dir_all(cache.path(origin(2)).join("x")).unwrap();
    let refused = cache.put(origin(2), CODE).unwrap_err();
    assert!(matches!(refused, CacheError::Io { .. }), "{refused}");
    assert_eq!(names(&cache).len(), 2);
}

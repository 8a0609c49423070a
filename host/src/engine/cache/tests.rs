use std::fs::set_permissions;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const CODE: &[u8] = b"machine code";

fn origin(component: u8) -> Origin {
    Origin { component: [component; 32], settings: 7 }
}

/// A cache in a temporary folder, with the code of component 1.
fn filled() -> (TempDir, CompilationCache) {
    let outer = tempfile::tempdir().unwrap();
    let cache = CompilationCache::new(&outer.path().join("cache"));
    cache.insert(origin(1), CODE).unwrap();
    (outer, cache)
}

/// All files except the key.
fn names(cache: &CompilationCache) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(&cache.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| !path.ends_with(KEY));
    names.sort();
    names
}

/// Asserts that a component's code is refused with its path, and removed.
#[track_caller]
fn is_refused(cache: &CompilationCache, origin: Origin) {
    let path = cache.path(origin);
    let refused = cache.get(origin).unwrap_err();
    assert!(matches!(refused, CacheError::Forged { .. }), "{refused}");
    assert!(refused.to_string().contains(path.to_str().unwrap()), "{refused}");
    assert!(!path.exists());
}

#[test]
fn inserted_code_is_found_before_and_after_a_restart() {
    let (_outer, cache) = filled();
    assert_eq!(cache.get(origin(1)).unwrap().unwrap(), CODE);
    assert_eq!(CompilationCache::new(&cache.folder).get(origin(1)).unwrap().unwrap(), CODE);
    assert!(cache.get(origin(2)).unwrap().is_none());
    assert!(cache.get(Origin { settings: 8, ..origin(1) }).unwrap().is_none());
    cache.insert(origin(1), b"other code").unwrap();
    assert_eq!(cache.get(origin(1)).unwrap().unwrap(), b"other code");
}

#[test]
fn only_the_owner_has_access_and_no_temporary_files_remain() {
    let (_outer, cache) = filled();
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(names(&cache), [cache.path(origin(1))]);
    assert_eq!((mode(&cache.folder), mode(&cache.path(origin(1)))), (0o700, 0o600));
    assert_eq!(mode(&cache.folder.join(KEY)), 0o600);
}

#[test]
fn peeking_changes_nothing_and_trusts_only_what_get_would_trust() {
    let (outer, cache) = filled();
    let state = || {
        let files = fs::read_dir(&cache.folder).unwrap().map(|file| file.unwrap());
        let mut files: Vec<_> =
            files.map(|file| (file.file_name(), file.metadata().unwrap().modified().unwrap())).collect();
        files.sort();
        files
    };
    let before = state();
    assert_eq!(cache.peek(origin(1)).unwrap(), CODE);
    assert_eq!(cache.peek(origin(2)), None);
    assert_eq!(state(), before);

    let whole = fs::read(cache.path(origin(1))).unwrap();
    for bytes in [&whole[1..], b"", &[whole.as_slice(), b"!"].concat()] {
        fs::write(cache.path(origin(1)), bytes).unwrap();
        assert_eq!(cache.peek(origin(1)), None);
        assert_eq!(fs::read(cache.path(origin(1))).unwrap(), bytes, "it is not removed");
    }
    fs::write(cache.path(origin(1)), whole).unwrap();
    for mode in [0o750, 0o707, 0o2700] {
        set_permissions(&cache.folder, Permissions::from_mode(mode)).unwrap();
        assert_eq!(cache.peek(origin(1)), None, "{mode:o}");
    }
    let absent = outer.path().join("absent");
    assert_eq!(CompilationCache::new(&absent).peek(origin(1)), None);
    assert!(!absent.exists());
}

#[test]
fn a_file_with_a_flipped_bit_is_refused_and_removed() {
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
    assert_eq!(cache.get(origin(1)).unwrap().unwrap(), CODE);
}

#[test]
fn a_file_of_another_length_is_refused_and_removed() {
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
fn two_swapped_files_are_both_refused() {
    let (outer, cache) = filled();
    cache.insert(origin(2), b"other code").unwrap();
    let (one, two, aside) = (cache.path(origin(1)), cache.path(origin(2)), outer.path().join("aside"));
    fs::rename(&one, &aside).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(&aside, &two).unwrap();
    is_refused(&cache, origin(1));
    is_refused(&cache, origin(2));
}

#[test]
fn code_for_other_settings_is_refused() {
    let (_outer, cache) = filled();
    let other = Origin { settings: 8, ..origin(1) };
    fs::rename(cache.path(origin(1)), cache.path(other)).unwrap();
    is_refused(&cache, other);
}

#[test]
fn code_with_another_keys_mac_is_refused() {
    let ((_outer, cache), (_other, elsewhere)) = (filled(), filled());
    fs::copy(elsewhere.folder.join(KEY), cache.folder.join(KEY)).unwrap();
    is_refused(&cache, origin(1));
    cache.insert(origin(1), CODE).unwrap();
    assert_eq!(cache.get(origin(1)).unwrap().unwrap(), CODE);
}

#[test]
fn a_folder_that_others_can_access_is_not_used() {
    let (_outer, cache) = filled();
    for mode in [0o777, 0o755, 0o750, 0o710, 0o702] {
        set_permissions(&cache.folder, Permissions::from_mode(mode)).unwrap();
        for refused in [cache.get(origin(1)).unwrap_err(), cache.insert(origin(2), CODE).unwrap_err()] {
            assert!(matches!(refused, CacheError::Folder { mode: found, .. } if found == mode), "{refused}");
        }
    }
    set_permissions(&cache.folder, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(cache.get(origin(1)).unwrap().unwrap(), CODE);
    assert_eq!(names(&cache), [cache.path(origin(1))]);
}

#[test]
fn a_folder_opened_by_kubernetes_is_emptied_and_closed_and_gets_a_new_key() {
    let (_outer, cache) = filled();
    let key = fs::read(cache.folder.join(KEY)).unwrap();
    fs::write(cache.folder.join("mac-key.new"), "written by another user").unwrap();
    fs::write(cache.folder.join("notes"), "not a file of the cache").unwrap();
    set_permissions(&cache.folder, Permissions::from_mode(0o2770)).unwrap();
    assert!(cache.get(origin(1)).unwrap().is_none(), "code that others could write is not loaded");
    assert_eq!(names(&cache), [cache.folder.join("notes")]);
    assert_eq!(cache.folder.metadata().unwrap().mode() & 0o7777, 0o700);
    assert_ne!(fs::read(cache.folder.join(KEY)).unwrap(), key);
    cache.insert(origin(1), CODE).unwrap();
    assert_eq!(cache.get(origin(1)).unwrap().unwrap(), CODE, "the cache is used again");
    set_permissions(&cache.folder, Permissions::from_mode(0o2777)).unwrap();
    assert!(matches!(cache.get(origin(1)).unwrap_err(), CacheError::Folder { mode: 0o777, .. }));
}

#[test]
fn a_symlink_and_a_readable_key_are_refused() {
    let (outer, cache) = filled();
    let link = outer.path().join("link");
    symlink(&cache.folder, &link).unwrap();
    let refused = CompilationCache::new(&link).get(origin(1)).unwrap_err();
    assert!(matches!(refused, CacheError::Folder { .. }), "{refused}");
    set_permissions(cache.folder.join(KEY), Permissions::from_mode(0o660)).unwrap();
    let refused = cache.get(origin(1)).unwrap_err();
    assert!(matches!(refused, CacheError::Key(KeyFileError::Exposed { mode: 0o660, .. })), "{refused}");
}

#[test]
fn beyond_the_limit_the_least_recently_used_files_are_removed() {
    let (_outer, mut cache) = filled();
    cache.limit_bytes = 3 * (CODE.len() + MAC_BYTES) as u64;
    let hour = Duration::from_secs(3600);
    for component in 2..=3 {
        cache.insert(origin(component), CODE).unwrap();
    }
    for (component, hours) in [(1, 3), (2, 2), (3, 1)] {
        let file = File::open(cache.path(origin(component))).unwrap();
        file.set_modified(SystemTime::now() - hours * hour).unwrap();
    }
    cache.get(origin(1)).unwrap().unwrap();
    cache.insert(origin(4), CODE).unwrap();
    let kept: Vec<u8> = (1..=4).filter(|component| cache.path(origin(*component)).exists()).collect();
    assert_eq!(kept, [1, 3, 4]);
    let larger = CODE.repeat(10);
    cache.insert(origin(5), &larger).unwrap();
    assert_eq!(names(&cache), [cache.path(origin(5))], "the new file stays");
}

#[test]
fn a_failed_insert_leaves_no_temporary_file() {
    let (_outer, cache) = filled();
    // `rename` cannot replace a folder that is not empty.
    fs::create_dir_all(cache.path(origin(2)).join("x")).unwrap();
    let refused = cache.insert(origin(2), CODE).unwrap_err();
    assert!(matches!(refused, CacheError::Io { .. }), "{refused}");
    assert_eq!(names(&cache).len(), 2);
}

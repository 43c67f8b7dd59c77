//! A VFS for SQLite named [`NAME`], in which a folder is a mounted [`Disk`].
//!
//! Translation only: `disk` decides how a disk works and fails. SQLite above the file system is the
//! real one, with the log's index in shared memory and its locks. The VFS is registered once and
//! stays; an open file holds its disk, so an unmounted disk lives until its last connection has
//! closed.

#![expect(
    unsafe_code,
    reason = "SQLite's VFS is a C interface of pointers and tables of functions"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Once};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::ffi;

use crate::disk::{Disk, DiskError, Handle, SHM_REGION_BYTES};
use crate::locks::Level;

/// The VFS's name, for [`weir_store::sqlite::Options::vfs`].
pub const NAME: &str = "weir-sim";

const C_NAME: &CStr = c"weir-sim";
const PATH_BYTES_MAX: c_int = 512;
/// Noon of a day in November 2025, in milliseconds of SQLite's calendar.
const SOME_DAY: i64 = 211_925_160_000_000;

static DISKS: Mutex<BTreeMap<String, Arc<Disk>>> = Mutex::new(BTreeMap::new());
static RANDOMNESS: AtomicU64 = AtomicU64::new(1);
static REGISTERED: Once = Once::new();

/// Mounts a disk at a folder, in place of an earlier one.
pub fn mount(folder: &str, disk: Arc<Disk>) {
    REGISTERED.call_once(register);
    DISKS.lock().insert(folder.to_owned(), disk);
}

/// Unmounts the disk of a folder.
pub fn unmount(folder: &str) {
    DISKS.lock().remove(folder);
}

fn register() {
    let vfs = ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<File>().try_into().unwrap_or(c_int::MAX),
        mxPathname: PATH_BYTES_MAX,
        pNext: std::ptr::null_mut(),
        zName: C_NAME.as_ptr(),
        pAppData: std::ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_path),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_ms),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    };
    // SAFETY: SQLite keeps the pointer, and the table is never freed. All functions in it have the
    // types that SQLite declares.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0) };
    assert_eq!(code, ffi::SQLITE_OK, "SQLite did not take the simulator's VFS");
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// An open file as SQLite allocates it: SQLite's part first, then ours.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    open: *mut Open,
}

struct Open {
    handle: Handle,
    /// Keeps every region alive that SQLite has a pointer to.
    regions: Vec<Arc<[AtomicU64]>>,
}

fn code(result: Result<(), DiskError>, io: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(DiskError::Io) => io,
        Err(DiskError::Full) => ffi::SQLITE_FULL,
        Err(DiskError::Busy) => ffi::SQLITE_BUSY,
        Err(DiskError::Missing) => ffi::SQLITE_CANTOPEN,
        Err(DiskError::ShortRead) => ffi::SQLITE_IOERR_SHORT_READ,
    }
}

/// The disk of a path, and the file's name on it.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn locate(path: *const c_char) -> Option<(Arc<Disk>, String)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: by this function's own contract.
    let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
    let (folder, name) = path.rsplit_once('/')?;
    Some((DISKS.lock().get(folder)?.clone(), name.to_owned()))
}

/// # Safety
/// SQLite calls it with a path or null, and room for a [`File`].
unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let file = file.cast::<File>();
    // SAFETY: `file` has room for a `File`; without methods SQLite does not close what was not
    // opened.
    unsafe { (*file).base.pMethods = std::ptr::null() };
    // SAFETY: SQLite gives a path or null.
    let Some((disk, name)) = (unsafe { locate(path) }) else { return ffi::SQLITE_CANTOPEN };
    match disk.open(&name, flags & ffi::SQLITE_OPEN_CREATE != 0) {
        Ok(handle) => {
            let open = Box::new(Open { handle, regions: Vec::new() });
            // SAFETY: as above; `out_flags` is null or points to a number.
            unsafe {
                (*file).open = Box::into_raw(open);
                (*file).base.pMethods = &raw const METHODS;
                if let Some(out) = out_flags.as_mut() {
                    *out = flags;
                }
            }
            ffi::SQLITE_OK
        }
        Err(e) => code(Err(e), ffi::SQLITE_CANTOPEN),
    }
}

/// # Safety
/// SQLite calls it with a path.
unsafe extern "C" fn delete(
    _vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    sync: c_int,
) -> c_int {
    // SAFETY: SQLite gives a path.
    let Some((disk, name)) = (unsafe { locate(path) }) else { return ffi::SQLITE_IOERR_DELETE };
    match disk.delete(&name, sync != 0) {
        Err(DiskError::Missing) => ffi::SQLITE_IOERR_DELETE_NOENT,
        done => code(done, ffi::SQLITE_IOERR_DELETE),
    }
}

/// # Safety
/// SQLite calls it with a path and a place for the answer.
unsafe extern "C" fn access(
    _vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a path.
    let found = unsafe { locate(path) }.is_some_and(|(disk, name)| disk.exists(&name));
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = c_int::from(found) };
    ffi::SQLITE_OK
}

/// # Safety
/// SQLite calls it with a path and `room` bytes for the full one.
unsafe extern "C" fn full_path(
    _vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives a path.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes_with_nul();
    if bytes.len() > usize::try_from(room).unwrap_or(0) {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: there is room, as just checked, and the two do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len()) };
    ffi::SQLITE_OK
}

/// # Safety
/// SQLite calls it with room for `n` bytes.
unsafe extern "C" fn randomness(_vfs: *mut ffi::sqlite3_vfs, n: c_int, out: *mut c_char) -> c_int {
    let n = usize::try_from(n).unwrap_or(0);
    // SAFETY: SQLite gives room for that many bytes.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), n) };
    for piece in out.chunks_mut(8) {
        let next = RANDOMNESS.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        piece.copy_from_slice(&next.to_le_bytes()[..piece.len()]);
    }
    c_int::try_from(n).unwrap_or(0)
}

/// # Safety
/// Touches nothing.
unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // Waits for a lock that another thread holds: that thread runs in real time.
    std::thread::sleep(Duration::from_micros(microseconds.unsigned_abs().into()));
    microseconds
}

/// # Safety
/// SQLite calls it with a place for the answer.
unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = 2_460_992.5 };
    ffi::SQLITE_OK
}

/// # Safety
/// SQLite calls it with a place for the answer.
unsafe extern "C" fn current_time_ms(_vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *out = SOME_DAY };
    ffi::SQLITE_OK
}

/// # Safety
/// Touches nothing.
unsafe extern "C" fn last_error(
    _vfs: *mut ffi::sqlite3_vfs,
    _n: c_int,
    _out: *mut c_char,
) -> c_int {
    0
}

/// The open file behind SQLite's pointer.
///
/// # Safety
/// `file` was opened by [`open`] and not closed, and no other thread uses it: SQLite's own rule for
/// a connection.
unsafe fn opened<'f>(file: *mut ffi::sqlite3_file) -> &'f mut Open {
    // SAFETY: by this function's own contract.
    unsafe { &mut *(*file.cast::<File>()).open }
}

/// # Safety
/// SQLite calls it once, with a file that [`open`] opened.
unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the box that `open` made, and no code uses it after this.
    drop(unsafe { Box::from_raw((*file.cast::<File>()).open) });
    ffi::SQLITE_OK
}

fn place(at: i64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// # Safety
/// SQLite calls it with an open file and room for `n` bytes.
unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    n: c_int,
    at: i64,
) -> c_int {
    // SAFETY: SQLite gives room for that many bytes.
    let to = unsafe { std::slice::from_raw_parts_mut(to.cast::<u8>(), n.unsigned_abs() as usize) };
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    code(open.handle.read(place(at), to), ffi::SQLITE_IOERR_READ)
}

/// # Safety
/// SQLite calls it with an open file and `n` bytes.
unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    n: c_int,
    at: i64,
) -> c_int {
    // SAFETY: SQLite gives that many bytes.
    let from = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), n.unsigned_abs() as usize) };
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    code(open.handle.write(place(at), from), ffi::SQLITE_IOERR_WRITE)
}

/// # Safety
/// SQLite calls it with an open file.
unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    code(open.handle.truncate(place(len)), ffi::SQLITE_IOERR_TRUNCATE)
}

/// # Safety
/// SQLite calls it with an open file.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    code(open.handle.sync(), ffi::SQLITE_IOERR_FSYNC)
}

/// # Safety
/// SQLite calls it with an open file and a place for the answer.
unsafe extern "C" fn size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    match open.handle.size() {
        Ok(size) => {
            // SAFETY: SQLite gives a place for the answer.
            unsafe { *out = i64::try_from(size).unwrap_or(i64::MAX) };
            ffi::SQLITE_OK
        }
        Err(_) => ffi::SQLITE_IOERR_FSTAT,
    }
}

fn level(of: c_int) -> Level {
    match of {
        ffi::SQLITE_LOCK_SHARED => Level::Shared,
        ffi::SQLITE_LOCK_RESERVED => Level::Reserved,
        ffi::SQLITE_LOCK_PENDING => Level::Pending,
        ffi::SQLITE_LOCK_EXCLUSIVE => Level::Exclusive,
        _ => Level::None,
    }
}

/// # Safety
/// SQLite calls it with an open file.
unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, to: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    code(open.handle.lock(level(to)), ffi::SQLITE_IOERR_LOCK)
}

/// # Safety
/// SQLite calls it with an open file.
unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, to: c_int) -> c_int {
    // SAFETY: an open file.
    unsafe { opened(file) }.handle.unlock(level(to));
    ffi::SQLITE_OK
}

/// # Safety
/// SQLite calls it with an open file and a place for the answer.
unsafe extern "C" fn check_reserved(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: an open file, and a place for the answer.
    unsafe { *out = c_int::from(opened(file).handle.is_reserved()) };
    ffi::SQLITE_OK
}

/// # Safety
/// Touches nothing.
unsafe extern "C" fn control(
    _file: *mut ffi::sqlite3_file,
    _op: c_int,
    _arg: *mut c_void,
) -> c_int {
    ffi::SQLITE_NOTFOUND
}

/// # Safety
/// Touches nothing.
unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    // SQLite's default for every Unix disk.
    4096
}

/// # Safety
/// Touches nothing.
unsafe extern "C" fn characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    // SQLite's default for every Unix disk.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

/// # Safety
/// SQLite calls it with an open file and a place for the answer.
unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    let (Ok(region), Ok(SHM_REGION_BYTES)) = (usize::try_from(region), usize::try_from(bytes))
    else {
        return ffi::SQLITE_IOERR_SHMMAP;
    };
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    let found = open.handle.shm_region(region, extend != 0);
    let pointer = found.map_or(std::ptr::null_mut(), |region| {
        let pointer = region.as_ptr().cast_mut().cast::<c_void>();
        open.regions.push(region);
        pointer
    });
    // SAFETY: SQLite gives a place for the answer. What it points to are atomics, which may be
    // written through a shared reference, and lives as long as the file is open.
    unsafe { *out = pointer };
    ffi::SQLITE_OK
}

/// # Safety
/// SQLite calls it with an open file.
unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    n: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    let (first, n) = (first.unsigned_abs() as usize, n.unsigned_abs() as usize);
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        open.handle.shm_unlock(first, n);
        return ffi::SQLITE_OK;
    }
    let alone = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    code(open.handle.shm_lock(first, n, alone), ffi::SQLITE_IOERR_SHMLOCK)
}

/// # Safety
/// Touches nothing.
unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

/// # Safety
/// SQLite calls it with an open file.
unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    open.handle.shm_unmap();
    open.regions.clear();
    ffi::SQLITE_OK
}

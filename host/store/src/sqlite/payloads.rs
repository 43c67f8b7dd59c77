//! Packing: how headers and bodies become the bytes of a row, and back.
//!
//! Zstandard with a dictionary per source once there is one, LZ4 before that, the bytes as they are where neither
//! makes them smaller. Packing runs on the thread of whoever stores, so contexts are kept per thread. A dictionary
//! is trained in the background from the first few hundred payloads of a source.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;
use weir_core::payload::Payload;
use xxhash_rust::xxh3::xxh3_64;
use zstd::bulk::{Compressor, Decompressor};

use super::aside::Hole;
use super::names::NameId;
use super::num;

/// Fast, and with a dictionary good enough: see the benchmark.
const LEVEL: i32 = 1;
/// A dictionary is worth its memory per thread; larger ones packed webhooks no better.
const DICTIONARY_BYTES: usize = 8 * 1024;
/// Longer payloads teach a dictionary little and take long to train on.
const SAMPLE_BYTES_MAX: usize = 16 * 1024;
/// All samples of all sources that are being learnt from.
const SAMPLES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Below this, a packed row would not be smaller.
const PACKED_BYTES_MIN: usize = 48;
/// Prepared dictionaries kept by one thread; past it the oldest is prepared again when needed.
const CONTEXTS_PER_THREAD_MAX: usize = 16;
/// The buffer that a thread keeps for packing; a larger one is let go after use.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;
/// Nothing that is stored is larger when unpacked; a damaged size cannot ask for more memory.
const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How a row's bytes are packed. The numbers are written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Codec {
    Raw = 0,
    Lz4 = 1,
    Zstd = 2,
}

/// A payload ready to be a row.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    codec: Codec,
    dictionary: Option<i64>,
    size: usize,
    data: Bytes,
    /// Of the bytes before they were packed.
    sum: u64,
}

impl Packed {
    /// Bytes that the row will take, for bounding a group.
    pub(super) fn stored_bytes(&self) -> usize {
        self.data.len()
    }

    /// Writes the row.
    pub(super) fn insert(&self, conn: &Connection, n: i64) -> rusqlite::Result<()> {
        conn.prepare_cached(
            "INSERT INTO payload (n, codec, dictionary, size, data, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            n,
            self.codec as u8,
            self.dictionary,
            num::column(self.size),
            &*self.data,
            of_row(self.sum, n)
        ])?;
        Ok(())
    }
}

/// The sum as a row has it: it belongs to that row and to no other.
fn of_row(sum: u64, n: i64) -> i64 {
    (sum ^ n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15)).cast_signed()
}

/// Stored bytes that cannot be unpacked, or are not those that were stored.
#[derive(Debug, Clone, thiserror::Error)]
#[error("payload {n} cannot be read: {why}")]
pub(super) struct Damaged {
    n: i64,
    why: String,
}

impl Damaged {
    /// The row, to be set aside.
    pub(super) fn hole(&self) -> Hole {
        Hole { first: self.n, last: self.n, why: self.why.clone() }
    }
}

struct Dictionary {
    /// Distinct in the process, where several stores may be open: what threads keep contexts by.
    serial: u64,
    /// Its row.
    n: i64,
    data: Box<[u8]>,
}

/// What is being collected for a source that has no dictionary.
enum Learning {
    Collecting(Vec<Bytes>),
    /// Being trained, or not worth trying again in this process.
    Over,
}

/// Packs and unpacks with the dictionaries of one store.
pub(super) struct Packer {
    by_source: RwLock<FxHashMap<Box<str>, Arc<Dictionary>>>,
    by_row: RwLock<FxHashMap<i64, Arc<Dictionary>>>,
    learning: Mutex<Learner>,
    samples_wanted: usize,
}

struct Learner {
    sources: FxHashMap<Box<str>, Learning>,
    bytes: usize,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer")
            .field("dictionaries", &self.by_row.read().len())
            .finish_non_exhaustive()
    }
}

/// Samples of a source, enough to train on.
pub(super) struct Samples {
    pub(super) source: Box<str>,
    samples: Vec<Bytes>,
}

impl Samples {
    /// Makes a dictionary. Takes a good part of a second: not for a thread that somebody waits for.
    pub(super) fn train(&self) -> Option<Vec<u8>> {
        zstd::dict::from_samples(&self.samples, DICTIONARY_BYTES).ok().filter(|d| !d.is_empty())
    }
}

impl Packer {
    pub(super) fn load(
        conn: &Connection,
        source_of: impl Fn(NameId) -> Arc<str>,
        samples_wanted: usize,
    ) -> rusqlite::Result<Self> {
        let packer = Self {
            by_source: RwLock::default(),
            by_row: RwLock::default(),
            learning: Mutex::new(Learner { sources: FxHashMap::default(), bytes: 0 }),
            samples_wanted,
        };
        let mut statement = conn.prepare("SELECT n, source, data FROM dictionary ORDER BY n")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            packer.publish(row.get(0)?, &source_of(row.get(1)?), row.get::<_, Vec<u8>>(2)?);
        }
        Ok(packer)
    }

    /// Takes a dictionary into use, once its row is durable.
    pub(super) fn publish(&self, n: i64, source: &str, data: Vec<u8>) {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dictionary = Arc::new(Dictionary { serial, n, data: data.into() });
        self.by_row.write().insert(n, dictionary.clone());
        self.by_source.write().insert(source.into(), dictionary);
        self.learning.lock().sources.remove(source);
    }

    /// Packs what a source sent. Returns samples when it is time to train: see [`Samples::train`].
    pub(super) fn pack(&self, source: &str, payload: &Payload) -> (Packed, Option<Samples>) {
        let encoded = payload.encode();
        let known = self.by_source.read().get(source).cloned();
        match known {
            Some(dictionary) => (with_dictionary(&dictionary, encoded), None),
            None => {
                let samples = self.learn(source, &encoded);
                (without_dictionary(encoded), samples)
            }
        }
    }

    /// Packs what is no source's, such as a message.
    pub(super) fn pack_plain(payload: &Payload) -> Packed {
        without_dictionary(payload.encode())
    }

    fn learn(&self, source: &str, encoded: &Bytes) -> Option<Samples> {
        let mut learner = self.learning.lock();
        let room = learner.bytes + encoded.len() <= SAMPLES_BYTES_MAX;
        if self.samples_wanted == 0 || encoded.len() > SAMPLE_BYTES_MAX || !room {
            return None;
        }
        if !learner.sources.contains_key(source) {
            learner.sources.insert(source.into(), Learning::Collecting(Vec::new()));
        }
        let Learning::Collecting(samples) = learner.sources.get_mut(source)? else { return None };
        samples.push(encoded.clone());
        let full = samples.len() >= self.samples_wanted;
        learner.bytes += encoded.len();
        if !full {
            return None;
        }
        match learner.sources.insert(source.into(), Learning::Over)? {
            Learning::Collecting(samples) => {
                learner.bytes -= samples.iter().map(Bytes::len).sum::<usize>();
                Some(Samples { source: source.into(), samples })
            }
            Learning::Over => None,
        }
    }

    /// Reads a payload's row back.
    pub(super) fn read(
        &self,
        conn: &Connection,
        n: i64,
    ) -> rusqlite::Result<Result<Payload, Damaged>> {
        let mut statement = conn.prepare_cached(
            "SELECT codec, dictionary, size, data, sum FROM payload WHERE n = ?1",
        )?;
        let mut rows = statement.query([n])?;
        let Some(row) = rows.next()? else {
            return Ok(Err(Damaged { n, why: "its row is missing".into() }));
        };
        let (codec, dictionary): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
        let size = num::length(row.get(2)?);
        let data = row.get_ref(3)?.as_blob().unwrap_or_default();
        let sum: Option<i64> = row.get(4)?;
        let unpacked = self.unpack(codec, dictionary, size, data);
        let whole = unpacked.and_then(|bytes| match sum {
            Some(sum) if sum != of_row(xxh3_64(&bytes), n) => {
                Err("its bytes are not those that were stored".to_owned())
            }
            _ => Ok(bytes),
        });
        Ok(whole
            .and_then(|bytes| Payload::decode(&bytes).map_err(|e| e.to_string()))
            .map_err(|why| Damaged { n, why }))
    }

    fn unpack(
        &self,
        codec: i64,
        dictionary: Option<i64>,
        size: usize,
        data: &[u8],
    ) -> Result<Bytes, String> {
        if size > UNPACKED_BYTES_MAX {
            return Err(format!("its size says {size} bytes"));
        }
        let bytes = match codec {
            0 => data.to_vec(),
            1 => lz4_flex::block::decompress(data, size).map_err(|e| e.to_string())?,
            2 => {
                let n = dictionary.ok_or("it names no dictionary")?;
                let known = self.by_row.read().get(&n).cloned();
                let dictionary = known.ok_or_else(|| format!("dictionary {n} is missing"))?;
                contexts(|contexts| contexts.unpack(&dictionary, data, size))
                    .map_err(|e| e.to_string())?
            }
            other => return Err(format!("codec {other} is unknown")),
        };
        if bytes.len() != size {
            return Err(format!("it has {} bytes instead of {size}", bytes.len()));
        }
        Ok(bytes.into())
    }
}

fn without_dictionary(encoded: Bytes) -> Packed {
    let (size, sum) = (encoded.len(), xxh3_64(&encoded));
    if size >= PACKED_BYTES_MIN {
        let packed = lz4_flex::block::compress(&encoded);
        if packed.len() < size {
            return Packed { codec: Codec::Lz4, dictionary: None, size, data: packed.into(), sum };
        }
    }
    Packed { codec: Codec::Raw, dictionary: None, size, data: encoded, sum }
}

fn with_dictionary(dictionary: &Dictionary, encoded: Bytes) -> Packed {
    let size = encoded.len();
    if size >= PACKED_BYTES_MIN
        && let Ok(data) = contexts(|contexts| contexts.pack(dictionary, &encoded))
        && data.len() < size
    {
        let (dictionary, sum) = (Some(dictionary.n), xxh3_64(&encoded));
        return Packed { codec: Codec::Zstd, dictionary, size, data, sum };
    }
    without_dictionary(encoded)
}

/// Text of an attempt, packed if it is long enough to gain: the bytes, and the unpacked size if they are packed.
pub(super) fn pack_text(text: &str) -> (Bytes, Option<usize>) {
    let packed = lz4_flex::block::compress(text.as_bytes());
    if text.len() > 256 && packed.len() < text.len() {
        (packed.into(), Some(text.len()))
    } else {
        (Bytes::copy_from_slice(text.as_bytes()), None)
    }
}

/// Reads what [`pack_text`] made.
pub(super) fn unpack_text(data: &[u8], size: Option<usize>) -> Option<Box<str>> {
    let bytes = match size {
        None => data.to_vec(),
        Some(size) if size <= UNPACKED_BYTES_MAX => lz4_flex::block::decompress(data, size).ok()?,
        Some(_) => return None,
    };
    String::from_utf8(bytes).ok().map(Into::into)
}

/// One thread's prepared dictionaries, newest use last.
#[derive(Default)]
struct Contexts {
    packers: Vec<(u64, Compressor<'static>)>,
    unpackers: Vec<(u64, Decompressor<'static>)>,
    buffer: Vec<u8>,
}

fn contexts<T>(with: impl FnOnce(&mut Contexts) -> T) -> T {
    thread_local!(static CONTEXTS: RefCell<Contexts> = RefCell::default());
    CONTEXTS.with_borrow_mut(with)
}

impl Contexts {
    /// Packs by way of a buffer that the thread keeps, so that a row's bytes are one allocation of their size.
    fn pack(&mut self, dictionary: &Dictionary, bytes: &[u8]) -> std::io::Result<Bytes> {
        let make = || Compressor::with_dictionary(LEVEL, &dictionary.data);
        let packer = kept(&mut self.packers, dictionary.serial, make)?;
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        packer.compress_to_buffer(bytes, &mut self.buffer)?;
        let packed = Bytes::copy_from_slice(&self.buffer);
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        Ok(packed)
    }

    fn unpack(
        &mut self,
        dictionary: &Dictionary,
        data: &[u8],
        size: usize,
    ) -> std::io::Result<Vec<u8>> {
        let make = || Decompressor::with_dictionary(&dictionary.data);
        kept(&mut self.unpackers, dictionary.serial, make)?.decompress(data, size)
    }
}

fn kept<T>(
    list: &mut Vec<(u64, T)>,
    serial: u64,
    make: impl FnOnce() -> std::io::Result<T>,
) -> std::io::Result<&mut T> {
    let index = match list.iter().position(|(s, _)| *s == serial) {
        Some(index) => index,
        None => {
            if list.len() >= CONTEXTS_PER_THREAD_MAX {
                list.remove(0);
            }
            list.push((serial, make()?));
            list.len() - 1
        }
    };
    Ok(&mut list[index].1)
}

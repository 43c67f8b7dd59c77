//! Packing: from headers and body to the bytes of a row, and back.
//!
//! A payload is packed by Zstandard with the dictionary of its source, by LZ4 until the source has
//! one, or not at all if that is smaller. Packing runs on the threads of callers, so contexts are
//! per thread. A dictionary is trained in the background from the first few hundred payloads of a
//! source.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;
use weir_core::payload::Payload;
use zstd::bulk::{Compressor, Decompressor};

use crate::sqlite::format::damage::UnreadableRange;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::num;

/// Fast, and with a dictionary small enough: see the benchmark.
const LEVEL: i32 = 1;

/// Larger dictionaries need more memory per thread and packed webhooks no better.
const DICTIONARY_BYTES: usize = 8 * 1024;

/// Longer payloads improve a dictionary little and train slowly.
const SAMPLE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of all collected samples.
const SAMPLES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Smaller payloads do not get smaller by packing.
const PACKED_BYTES_MIN: usize = 48;

/// Prepared dictionaries per thread. The oldest is dropped and prepared again when needed.
const CONTEXTS_PER_THREAD_MAX: usize = 16;

/// Largest packing buffer that a thread keeps.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;

/// Largest unpacked payload, so that a damaged size cannot allocate more.
const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Packing of a row's bytes. The numbers are written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Codec {
    Raw = 0,
    Lz4 = 1,
    Zstd = 2,
}

/// A payload ready to be a row.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    codec: Codec,
    dictionary: Option<i64>,
    size: usize,
    data: Bytes,
    /// Checksum of the unpacked bytes.
    sum: u64,
}

impl Packed {
    /// Bytes that the row will take, for bounding a group.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.data.len()
    }

    /// Writes the row.
    pub(crate) fn insert(&self, conn: &Connection, n: i64) -> rusqlite::Result<()> {
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

    /// Writes over a row.
    pub(crate) fn replace(&self, conn: &Connection, n: i64) -> rusqlite::Result<()> {
        conn.prepare_cached(
            "UPDATE payload SET codec = ?2, dictionary = ?3, size = ?4, data = ?5, sum = ?6 WHERE n = ?1",
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

/// The checksum of a row. It includes the row number, so that rows cannot be exchanged.
fn of_row(sum: u64, n: i64) -> i64 {
    (sum ^ n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15)).cast_signed()
}

/// A payload whose bytes cannot be unpacked or were changed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("payload {n} cannot be read: {why}")]
pub(crate) struct Damaged {
    n: i64,
    why: String,
}

impl Damaged {
    /// The row as a range to set aside.
    pub(crate) fn hole(&self) -> UnreadableRange {
        UnreadableRange { first: self.n, last: self.n, why: self.why.clone() }
    }
}

struct Dictionary {
    /// Unique in the process, which may have several stores open. Threads keep contexts by it.
    serial: u64,
    n: i64,
    data: Box<[u8]>,
}

/// Samples of a source that has no dictionary.
enum SourceSamples {
    Collecting(Vec<Bytes>),
    /// In training, or not to be tried again in this process.
    Over,
}

/// Packs and unpacks with the dictionaries of one store.
pub(crate) struct Packer {
    by_source: RwLock<FxHashMap<Box<str>, Arc<Dictionary>>>,
    by_row: RwLock<FxHashMap<i64, Arc<Dictionary>>>,
    learning: Mutex<SampleCollector>,
    samples_wanted: usize,
}

struct SampleCollector {
    sources: FxHashMap<Box<str>, SourceSamples>,
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
pub(crate) struct Samples {
    pub(crate) source: Box<str>,
    samples: Vec<Bytes>,
}

impl Samples {
    /// Trains a dictionary. This takes up to a second, so run it on a background thread.
    pub(crate) fn train(&self) -> Option<Vec<u8>> {
        zstd::dict::from_samples(&self.samples, DICTIONARY_BYTES).ok().filter(|d| !d.is_empty())
    }
}

impl Packer {
    pub(crate) fn load(
        conn: &Connection,
        source_of: impl Fn(NameId) -> Arc<str>,
        samples_wanted: usize,
    ) -> rusqlite::Result<Self> {
        let packer = Self {
            by_source: RwLock::default(),
            by_row: RwLock::default(),
            learning: Mutex::new(SampleCollector { sources: FxHashMap::default(), bytes: 0 }),
            samples_wanted,
        };
        let mut statement = conn.prepare("SELECT n, source, data FROM dictionary ORDER BY n")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            packer.publish(row.get(0)?, &source_of(row.get(1)?), row.get::<_, Vec<u8>>(2)?);
        }
        Ok(packer)
    }

    /// Starts using a dictionary whose row is durable.
    pub(crate) fn publish(&self, n: i64, source: &str, data: Vec<u8>) {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dictionary = Arc::new(Dictionary { serial, n, data: data.into() });
        self.by_row.write().insert(n, dictionary.clone());
        self.by_source.write().insert(source.into(), dictionary);
        self.learning.lock().sources.remove(source);
    }

    /// Packs a payload of a source. Returns samples when there are enough for [`Samples::train`].
    pub(crate) fn pack(&self, source: &str, payload: &Payload) -> (Packed, Option<Samples>) {
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

    /// Packs a payload without a source, such as a message.
    pub(crate) fn pack_plain(payload: &Payload) -> Packed {
        without_dictionary(payload.encode())
    }

    fn learn(&self, source: &str, encoded: &Bytes) -> Option<Samples> {
        let mut learner = self.learning.lock();
        let room = learner.bytes + encoded.len() <= SAMPLES_BYTES_MAX;
        if self.samples_wanted == 0 || encoded.len() > SAMPLE_BYTES_MAX || !room {
            return None;
        }
        if !learner.sources.contains_key(source) {
            learner.sources.insert(source.into(), SourceSamples::Collecting(Vec::new()));
        }
        let SourceSamples::Collecting(samples) = learner.sources.get_mut(source)? else {
            return None;
        };
        samples.push(encoded.clone());
        let full = samples.len() >= self.samples_wanted;
        learner.bytes += encoded.len();
        if !full {
            return None;
        }
        match learner.sources.insert(source.into(), SourceSamples::Over)? {
            SourceSamples::Collecting(samples) => {
                learner.bytes -= samples.iter().map(Bytes::len).sum::<usize>();
                Some(Samples { source: source.into(), samples })
            }
            SourceSamples::Over => None,
        }
    }

    /// Reads a payload's row.
    pub(crate) fn read(
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

/// Packs text of an attempt if that makes it smaller. Returns the bytes, and the unpacked size if
/// packed.
pub(crate) fn pack_text(text: &str) -> (Bytes, Option<usize>) {
    let packed = lz4_flex::block::compress(text.as_bytes());
    if text.len() > 256 && packed.len() < text.len() {
        (packed.into(), Some(text.len()))
    } else {
        (Bytes::copy_from_slice(text.as_bytes()), None)
    }
}

/// Unpacks the result of [`pack_text`].
pub(crate) fn unpack_text(data: &[u8], size: Option<usize>) -> Option<Box<str>> {
    let bytes = match size {
        None => data.to_vec(),
        Some(size) if size <= UNPACKED_BYTES_MAX => lz4_flex::block::decompress(data, size).ok()?,
        Some(_) => return None,
    };
    String::from_utf8(bytes).ok().map(Into::into)
}

/// Prepared dictionaries of one thread, the newest last.
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
    /// Packs into a buffer that the thread keeps, so that a row's bytes are one allocation.
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

//! Decodes a JPEG at a half, a quarter or an eighth of its size, straight from its coefficients: what
//! is going to be scaled down anyway never is there in full. Only for the kind that cameras send
//! (sequential, Huffman-coded, one or three components). Pure; bounded by the size that comes out.

use image::{DynamicImage, GrayImage, RgbImage};

use super::SnapshotError;

/// Coefficients in the order of the stream: where each belongs in its block.
#[rustfmt::skip]
const ZIGZAG: [u8; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];
/// Bits of a code that are looked up at once.
const FAST: u8 = 9;

/// By how much a picture is made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reduction {
    /// 1/2
    Half,
    /// 1/4
    Quarter,
    /// 1/8
    Eighth,
}

impl Reduction {
    /// The divisor.
    pub fn by(self) -> u32 {
        match self {
            Self::Half => 2,
            Self::Quarter => 4,
            Self::Eighth => 8,
        }
    }

    /// Pixels that stay of a block's eight.
    fn edge(self) -> usize {
        match self {
            Self::Half => 4,
            Self::Quarter => 2,
            Self::Eighth => 1,
        }
    }
}

/// The picture, smaller.
pub fn decode(jpeg: &[u8], reduction: Reduction) -> Result<DynamicImage, SnapshotError> {
    let mut decoder = Decoder {
        reduction,
        idct: Idct::new(reduction.edge()),
        quantisation: [None; 4],
        dc: [None, None, None, None],
        ac: [None, None, None, None],
        restart: 0,
        adobe: None,
        frame: None,
    };
    let mut rest = jpeg
        .strip_prefix(&[0xFF, 0xD8])
        .ok_or(SnapshotError::NotJpeg)?;
    loop {
        // What stands between segments is nobody's.
        let at = rest.windows(2).position(
            |w| matches!(w, [0xFF, marker] if !matches!(marker, 0x00 | 0x01 | 0xFF | 0xD0..=0xD7)),
        );
        let Some((marker, body)) = at.and_then(|at| {
            let after = rest.get(at + 1..)?;
            after.split_first()
        }) else {
            break;
        };
        if *marker == 0xD9 {
            break;
        }
        let (segment, after) = super::header::segment(body)?;
        rest = after;
        match marker {
            0xDB => decoder.quantisation(segment)?,
            0xC4 => decoder.huffman(segment)?,
            0xC0 | 0xC1 => decoder.frame(segment)?,
            0xC2 => return Err(SnapshotError::Unusual("progressive")),
            0xDD => {
                let [high, low, ..] = segment else {
                    return Err(broken("a short restart interval"));
                };
                decoder.restart = u32::from(u16::from_be_bytes([*high, *low]));
            }
            0xEE => {
                if let [
                    b'A',
                    b'd',
                    b'o',
                    b'b',
                    b'e',
                    _,
                    _,
                    _,
                    _,
                    _,
                    _,
                    transform,
                    ..,
                ] = segment
                {
                    decoder.adobe = Some(*transform);
                }
            }
            0xDA => rest = decoder.scan(segment, rest)?,
            _ => {}
        }
    }
    decoder.picture()
}

fn broken(words: &str) -> SnapshotError {
    SnapshotError::Broken(words.to_owned())
}

struct Component {
    id: u8,
    across: usize,
    down: usize,
    table: usize,
    /// Blocks across, those that fill up the last unit too.
    blocks: usize,
    /// Pixels from one row to the next.
    stride: usize,
    pixels: Vec<u8>,
}

struct Frame {
    width: usize,
    height: usize,
    /// The largest of all components.
    across: usize,
    down: usize,
    units_across: usize,
    units_down: usize,
    components: Vec<Component>,
    /// Something of it has come.
    begun: bool,
}

struct Decoder {
    reduction: Reduction,
    idct: Idct,
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<Box<Huffman>>; 4],
    ac: [Option<Box<Huffman>>; 4],
    restart: u32,
    adobe: Option<u8>,
    frame: Option<Frame>,
}

impl Decoder {
    fn quantisation(&mut self, mut segment: &[u8]) -> Result<(), SnapshotError> {
        while let Some((kind, rest)) = segment.split_first() {
            let wide = kind >> 4 != 0;
            let length = if wide { 128 } else { 64 };
            let (values, after) = rest
                .split_at_checked(length)
                .ok_or_else(|| broken("a short quantisation table"))?;
            let mut table = [0_u16; 64];
            for (at, place) in ZIGZAG.iter().enumerate() {
                let value = if wide {
                    let pair = values.get(2 * at..2 * at + 2);
                    pair.map_or(0, |p| p.iter().fold(0, |v, b| (v << 8) | u16::from(*b)))
                } else {
                    values.get(at).copied().map_or(0, u16::from)
                };
                if let Some(slot) = table.get_mut(usize::from(*place)) {
                    *slot = value;
                }
            }
            if let Some(slot) = self.quantisation.get_mut(usize::from(kind & 15)) {
                *slot = Some(table);
            }
            segment = after;
        }
        Ok(())
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Result<(), SnapshotError> {
        while let Some((kind, rest)) = segment.split_first() {
            let (counts, rest) = rest
                .split_first_chunk::<16>()
                .ok_or_else(|| broken("a short Huffman table"))?;
            let length = counts.iter().map(|n| usize::from(*n)).sum();
            let (symbols, after) = rest
                .split_at_checked(length)
                .ok_or_else(|| broken("a short Huffman table"))?;
            let tables = if kind >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            if let Some(slot) = tables.get_mut(usize::from(kind & 15)) {
                *slot = Some(Box::new(Huffman::new(counts, symbols)?));
            }
            segment = after;
        }
        Ok(())
    }

    fn frame(&mut self, segment: &[u8]) -> Result<(), SnapshotError> {
        if self.frame.is_some() {
            return Err(broken("two pictures in one"));
        }
        let header = super::header::frame(segment)?;
        let list = segment.get(6..).unwrap_or_default();
        let mut components = Vec::new();
        for part in list.chunks_exact(3).take(header.parts()) {
            let &[id, sampling, table] = part else {
                continue;
            };
            components.push(Component {
                id,
                across: usize::from(sampling >> 4),
                down: usize::from(sampling & 15),
                table: usize::from(table),
                blocks: 0,
                stride: 0,
                pixels: Vec::new(),
            });
        }
        if !matches!(components.len(), 1 | 3) {
            return Err(SnapshotError::Unusual("four colours"));
        }
        // A single component is not interleaved: its sampling means nothing.
        if let [only] = components.as_mut_slice() {
            (only.across, only.down) = (1, 1);
        }
        let most = |of: fn(&Component) -> usize| components.iter().map(of).max().unwrap_or(1);
        let (across, down) = (most(|c| c.across), most(|c| c.down));
        let size = |pixels: u32| usize::try_from(pixels).unwrap_or(usize::MAX);
        let (width, height) = (size(header.width), size(header.height));
        let (units_across, units_down) = (width.div_ceil(8 * across), height.div_ceil(8 * down));
        let edge = self.reduction.edge();
        for component in &mut components {
            component.blocks = units_across * component.across;
            component.stride = component.blocks * edge;
            component.pixels = vec![128; component.stride * units_down * component.down * edge];
        }
        self.frame = Some(Frame {
            width,
            height,
            across,
            down,
            units_across,
            units_down,
            components,
            begun: false,
        });
        Ok(())
    }

    /// One scan; what stands behind its data.
    fn scan<'a>(&mut self, segment: &[u8], data: &'a [u8]) -> Result<&'a [u8], SnapshotError> {
        let frame = self
            .frame
            .as_mut()
            .ok_or_else(|| broken("a scan before its size"))?;
        frame.begun = true;
        let count = usize::from(*segment.first().unwrap_or(&0));
        let mut parts = Vec::new();
        for pair in segment
            .get(1..)
            .unwrap_or_default()
            .chunks_exact(2)
            .take(count)
        {
            let &[id, tables] = pair else { continue };
            let index = frame.components.iter().position(|c| c.id == id);
            let index = index.ok_or_else(|| broken("a scan of nothing"))?;
            let quantisation = frame
                .components
                .get(index)
                .and_then(|c| self.quantisation.get(c.table))
                .and_then(Option::as_ref);
            let table = |of: &'_ [Option<Box<Huffman>>; 4], n: u8| -> Option<Huffman> {
                of.get(usize::from(n)).and_then(Option::as_deref).cloned()
            };
            parts.push(Part {
                index,
                quantisation: *quantisation.ok_or_else(|| broken("no quantisation table"))?,
                dc: table(&self.dc, tables >> 4).ok_or_else(|| broken("no Huffman table"))?,
                ac: table(&self.ac, tables & 15).ok_or_else(|| broken("no Huffman table"))?,
                predicted: 0,
            });
        }
        if parts.is_empty() || parts.len() != count {
            return Err(broken("a scan without sense"));
        }
        let edge = self.reduction.edge();
        let mut bits = Bits::new(data);
        let alone = parts.len() == 1;
        let (across, down) = match parts.as_slice() {
            [part] => frame.blocks_alone(part.index),
            _ => (frame.units_across, frame.units_down),
        };
        let mut until_restart = self.restart;
        for row in 0..down {
            for column in 0..across {
                if self.restart > 0 {
                    if until_restart == 0 {
                        bits.restart();
                        for part in &mut parts {
                            part.predicted = 0;
                        }
                        until_restart = self.restart;
                    }
                    until_restart -= 1;
                }
                for part in &mut parts {
                    let Some(component) = frame.components.get_mut(part.index) else {
                        continue;
                    };
                    let (wide, high) = if alone {
                        (1, 1)
                    } else {
                        (component.across, component.down)
                    };
                    for y in 0..high {
                        for x in 0..wide {
                            let block = part.block(&mut bits, edge)?;
                            let at = (row * high + y) * edge * component.stride
                                + (column * wide + x) * edge;
                            self.idct
                                .put(&block, &mut component.pixels, at, component.stride);
                        }
                    }
                }
            }
            if bits.is_over() {
                // The rest stays grey, as everybody shows it.
                break;
            }
        }
        Ok(bits.rest())
    }

    fn picture(self) -> Result<DynamicImage, SnapshotError> {
        let frame = self
            .frame
            .filter(|frame| frame.begun)
            .ok_or_else(|| broken("no picture in it"))?;
        let by = usize::try_from(self.reduction.by()).unwrap_or(8);
        let (width, height) = (frame.width.div_ceil(by), frame.height.div_ceil(by));
        let out = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
        let no_room = || broken("its planes do not fit its size");
        match frame.components.as_slice() {
            [grey] => {
                let mut all = Vec::with_capacity(width * height);
                for row in grey.pixels.chunks_exact(grey.stride.max(1)).take(height) {
                    all.extend_from_slice(row.get(..width).unwrap_or_default());
                }
                let image = GrayImage::from_raw(out(width), out(height), all);
                Ok(DynamicImage::ImageLuma8(image.ok_or_else(no_room)?))
            }
            [first, second, third] => {
                let ids = [first.id, second.id, third.id];
                let plain = match self.adobe {
                    Some(transform) => transform == 0,
                    None => ids == *b"RGB",
                };
                let mut all = Vec::with_capacity(width * height * 3);
                for y in 0..height {
                    let row = |c: &Component| {
                        let at = y * c.down / frame.down * c.stride;
                        at..at + c.stride
                    };
                    let (Some(a), Some(b), Some(c)) = (
                        first.pixels.get(row(first)),
                        second.pixels.get(row(second)),
                        third.pixels.get(row(third)),
                    ) else {
                        return Err(no_room());
                    };
                    for x in 0..width {
                        let pixel = |row: &[u8], c: &Component| {
                            row.get(x * c.across / frame.across).copied().unwrap_or(128)
                        };
                        let values = (pixel(a, first), pixel(b, second), pixel(c, third));
                        all.extend_from_slice(&if plain {
                            [values.0, values.1, values.2]
                        } else {
                            rgb(values)
                        });
                    }
                }
                let image = RgbImage::from_raw(out(width), out(height), all);
                Ok(DynamicImage::ImageRgb8(image.ok_or_else(no_room)?))
            }
            _ => Err(SnapshotError::Unusual("four colours")),
        }
    }
}

impl Frame {
    /// The blocks of a component that comes alone: without those that fill up the last unit.
    fn blocks_alone(&self, index: usize) -> (usize, usize) {
        let Some(c) = self.components.get(index) else {
            return (0, 0);
        };
        let blocks =
            |pixels: usize, share: usize, of: usize| (pixels * share).div_ceil(of).div_ceil(8);
        (
            blocks(self.width, c.across, self.across),
            blocks(self.height, c.down, self.down),
        )
    }
}

/// JFIF's colours, in 16 bits behind the point.
fn rgb((y, cb, cr): (u8, u8, u8)) -> [u8; 3] {
    let y = i32::from(y) << 16;
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    [
        y + 91_881 * cr,
        y - 22_554 * cb - 46_802 * cr,
        y + 116_130 * cb,
    ]
    .map(|value| byte((value + 32_768) >> 16))
}

fn byte(value: i32) -> u8 {
    u8::try_from(value.clamp(0, 255)).unwrap_or(u8::MAX)
}

/// A component's share of a scan.
struct Part {
    index: usize,
    quantisation: [u16; 64],
    dc: Huffman,
    ac: Huffman,
    predicted: i32,
}

impl Part {
    /// The coefficients that matter, the lowest `edge` both ways, in rows of eight.
    fn block(&mut self, bits: &mut Bits<'_>, edge: usize) -> Result<[i32; 64], SnapshotError> {
        let mut block = [0_i32; 64];
        let size = self.dc.decode(bits)?.min(15);
        self.predicted = self
            .predicted
            .wrapping_add(bits.signed(size))
            .clamp(-32_768, 32_767);
        block[0] = self.predicted * i32::from(self.quantisation[0]);
        let mut at = 1_usize;
        while at < 64 {
            let symbol = self.ac.decode(bits)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            if size == 0 {
                if run == 15 {
                    at += 16;
                    continue;
                }
                break;
            }
            at += run;
            let value = bits.signed(size);
            let Some(place) = ZIGZAG.get(at).map(|p| usize::from(*p)) else {
                return Err(broken("too many coefficients"));
            };
            if place % 8 < edge
                && place / 8 < edge
                && let (Some(slot), Some(q)) = (block.get_mut(place), self.quantisation.get(place))
            {
                *slot = value * i32::from(*q);
            }
            at += 1;
        }
        Ok(block)
    }
}

/// The inverse transform of the lowest coefficients alone: a smaller block, of the same mean.
struct Idct {
    edge: usize,
    /// By frequency, then by pixel.
    basis: [[f32; 4]; 4],
}

impl Idct {
    fn new(edge: usize) -> Self {
        let mut basis = [[0.0; 4]; 4];
        let n = f32::from(u8::try_from(edge).unwrap_or(4));
        for (u, row) in (0_u8..).zip(&mut basis).take(edge) {
            for (x, value) in (0_u8..).zip(row).take(edge) {
                let angle =
                    (2.0 * f32::from(x) + 1.0) * f32::from(u) * std::f32::consts::PI / (2.0 * n);
                let norm = if u == 0 {
                    1.0
                } else {
                    std::f32::consts::SQRT_2
                };
                // Of an orthonormal transform of eight, taken as one of n: sqrt(1/n) * sqrt(n/8).
                *value = norm * angle.cos() / 8.0_f32.sqrt();
            }
        }
        Self { edge, basis }
    }

    fn put(&self, block: &[i32; 64], pixels: &mut [u8], at: usize, stride: usize) {
        let edge = self.edge;
        // Coefficients are within 2^31, far more than a picture's; a float takes them all.
        #[allow(clippy::cast_precision_loss)]
        let value = |place: usize| block.get(place).map_or(0.0, |v| *v as f32);
        let mut columns = [[0.0_f32; 4]; 4];
        for (v, row) in columns.iter_mut().enumerate().take(edge) {
            for (x, sum) in row.iter_mut().enumerate().take(edge) {
                for (u, wave) in self.basis.iter().enumerate().take(edge) {
                    *sum += value(v * 8 + u) * wave.get(x).copied().unwrap_or_default();
                }
            }
        }
        for y in 0..edge {
            let start = at + y * stride;
            let Some(row) = pixels.get_mut(start..start + edge) else {
                return;
            };
            for (x, pixel) in row.iter_mut().enumerate() {
                let mut sum = 128.5_f32;
                for (values, wave) in columns.iter().zip(&self.basis).take(edge) {
                    sum += values.get(x).copied().unwrap_or_default()
                        * wave.get(y).copied().unwrap_or_default();
                }
                // Clamped to the range.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let shown = sum.clamp(0.0, 255.0) as u8;
                *pixel = shown;
            }
        }
    }
}

/// A Huffman table: short codes by look-up, long ones by the first code of each length.
#[derive(Clone)]
struct Huffman {
    /// By the next [`FAST`] bits: length and symbol; length 0 = longer.
    fast: Vec<(u8, u8)>,
    /// By length: the code behind the last one, left-aligned to 16 bits.
    limits: [u32; 17],
    /// By length: what is added to a code to find its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, SnapshotError> {
        let mut table = Self {
            fast: vec![(0, 0); 1 << FAST],
            limits: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut first) = (0_u32, 0_i32);
        for (length, count) in (1_u8..).zip(counts) {
            let count = u32::from(*count);
            if code + count > 1 << length {
                return Err(broken("a Huffman table with too many codes"));
            }
            let at = usize::from(length);
            let signed = i32::try_from(code).unwrap_or_default();
            if let (Some(limit), Some(offset)) =
                (table.limits.get_mut(at), table.offsets.get_mut(at))
            {
                *limit = (code + count) << (16 - length);
                *offset = first - signed;
            }
            if length <= FAST {
                for n in 0..count {
                    let index = usize::try_from(first).unwrap_or_default()
                        + usize::try_from(n).unwrap_or_default();
                    let symbol = symbols.get(index).copied().unwrap_or_default();
                    let from = usize::try_from((code + n) << (FAST - length)).unwrap_or_default();
                    let slots = table.fast.get_mut(from..from + (1 << (FAST - length)));
                    slots
                        .into_iter()
                        .flatten()
                        .for_each(|s| *s = (length, symbol));
                }
            }
            first += i32::try_from(count).unwrap_or_default();
            code = (code + count) << 1;
        }
        Ok(table)
    }

    fn decode(&self, bits: &mut Bits<'_>) -> Result<u8, SnapshotError> {
        let next = bits.peek();
        let index = usize::try_from(next >> (16 - FAST)).unwrap_or_default();
        if let Some((length @ 1.., symbol)) = self.fast.get(index).copied() {
            bits.skip(length);
            return Ok(symbol);
        }
        for length in FAST + 1..=16 {
            let at = usize::from(length);
            if self.limits.get(at).is_some_and(|limit| next < *limit) {
                let code = i32::try_from(next >> (16 - length)).unwrap_or_default();
                let index = code + self.offsets.get(at).copied().unwrap_or_default();
                let symbol = usize::try_from(index)
                    .ok()
                    .and_then(|i| self.symbols.get(i));
                bits.skip(length);
                return symbol
                    .copied()
                    .ok_or_else(|| broken("a code without a symbol"));
            }
        }
        if bits.is_over() {
            return Ok(0);
        }
        Err(broken("a code that no table has"))
    }
}

/// The data of a scan, bit by bit, up to its next marker; behind that there are zeros.
struct Bits<'a> {
    data: &'a [u8],
    /// The next bits, from the top.
    buffer: u64,
    filled: u8,
    /// A marker has been met, or the end.
    at_marker: bool,
    /// Zeros that were put behind the end.
    invented: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            buffer: 0,
            filled: 0,
            at_marker: false,
            invented: 0,
        }
    }

    fn fill(&mut self) {
        while self.filled <= 48 {
            let byte = match self.data {
                [0xFF, 0x00, rest @ ..] if !self.at_marker => {
                    self.data = rest;
                    0xFF
                }
                [0xFF, ..] | [] => {
                    self.at_marker = true;
                    self.invented = self.invented.saturating_add(1);
                    0
                }
                [byte, rest @ ..] if !self.at_marker => {
                    self.data = rest;
                    *byte
                }
                _ => 0,
            };
            self.buffer |= u64::from(byte) << (56 - self.filled);
            self.filled += 8;
        }
    }

    /// The next 16 bits.
    fn peek(&mut self) -> u32 {
        if self.filled < 16 {
            self.fill();
        }
        u32::try_from(self.buffer >> 48).unwrap_or_default()
    }

    fn skip(&mut self, bits: u8) {
        self.buffer <<= bits;
        self.filled = self.filled.saturating_sub(bits);
    }

    /// A value of so many bits, as JPEG writes signs.
    fn signed(&mut self, size: u8) -> i32 {
        if size == 0 {
            return 0;
        }
        let value = i32::try_from(self.peek() >> (16 - size)).unwrap_or_default();
        self.skip(size);
        if value < 1 << (size - 1) {
            value - (1 << size) + 1
        } else {
            value
        }
    }

    /// Goes on behind the next restart marker, if one comes.
    fn restart(&mut self) {
        self.buffer = 0;
        self.filled = 0;
        let at = self
            .data
            .windows(2)
            .position(|w| matches!(w, [0xFF, marker] if *marker != 0 && *marker != 0xFF));
        let marker = at.and_then(|at| Some((at, *self.data.get(at + 1)?)));
        if let Some((at, 0xD0..=0xD7)) = marker {
            self.data = self.data.get(at + 2..).unwrap_or_default();
            self.at_marker = false;
            self.invented = 0;
        } else {
            self.at_marker = true;
        }
    }

    /// More has been read than there is.
    fn is_over(&self) -> bool {
        self.invented > 16
    }

    fn rest(self) -> &'a [u8] {
        self.data
    }
}

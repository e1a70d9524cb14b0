//! SRTP's ciphers, and the hashes of STUN and SDP. Counter mode is by hand: ring has no bare AES.

use aes::cipher::{Array, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes256};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY};
use str0m_proto::crypto::{
    AeadAes128Gcm, AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError,
    Sha1HmacProvider, Sha1Provider, Sha256Provider, SrtpProvider, SupportedAeadAes128Gcm,
    SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

/// Length of an AES block.
const BLOCK: usize = 16;
/// Blocks that are encrypted at a time: what the widest backend does at once.
const AT_ONCE: usize = 8;
/// GCM's tag.
const TAG: usize = AeadAes128Gcm::TAG_LEN;

/// Everything in this file.
#[derive(Debug)]
pub struct Srtp;

impl SrtpProvider for Srtp {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &Srtp
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        &Srtp
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        &Srtp
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        one_block::<Aes128>(key, input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        one_block::<Aes256>(key, input, output);
    }
}

/// One block under a key of its own. What does not fit leaves `output` as it was; str0m gives keys
/// and blocks of their fixed sizes.
pub fn one_block<C>(key: &[u8], input: &[u8], output: &mut [u8])
where
    C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
{
    let (Ok(cipher), Some(input), Some(output)) = (
        C::new_from_slice(key),
        input.first_chunk::<BLOCK>(),
        output.first_chunk_mut::<BLOCK>(),
    ) else {
        return;
    };
    let mut block = Array::from(*input);
    cipher.encrypt_block(&mut block);
    *output = block.into();
}

impl SupportedAes128CmSha1_80 for Srtp {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        Box::new(CounterMode(Aes128::new(&Array::from(key))))
    }
}

impl SupportedAeadAes128Gcm for Srtp {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn AeadAes128GcmCipher> {
        Box::new(Gcm::new(&AES_128_GCM, &key))
    }
}

impl SupportedAeadAes256Gcm for Srtp {
    fn create_cipher(&self, key: [u8; 32], _encrypt: bool) -> Box<dyn AeadAes256GcmCipher> {
        Box::new(Gcm::new(&AES_256_GCM, &key))
    }
}

/// AES in counter mode (RFC 3711, 4.1.1).
struct CounterMode(Aes128);

impl std::fmt::Debug for CounterMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CounterMode")
    }
}

impl CounterMode {
    fn apply(&self, iv: &[u8; BLOCK], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let output = output
            .get_mut(..input.len())
            .ok_or_else(|| failed("no room for a packet"))?;
        let mut counter = u128::from_be_bytes(*iv);
        let batch = BLOCK * AT_ONCE;
        for (input, output) in input.chunks(batch).zip(output.chunks_mut(batch)) {
            let mut blocks: [_; AT_ONCE] = std::array::from_fn(|_| {
                let block = Array::from(counter.to_be_bytes());
                counter = counter.wrapping_add(1);
                block
            });
            self.0.encrypt_blocks(&mut blocks);
            let stream = blocks.iter().flatten();
            for ((to, from), key) in output.iter_mut().zip(input).zip(stream) {
                *to = from ^ key;
            }
        }
        Ok(())
    }
}

impl Aes128CmSha1_80Cipher for CounterMode {
    fn encrypt(&mut self, iv: &[u8; 16], from: &[u8], to: &mut [u8]) -> Result<(), CryptoError> {
        self.apply(iv, from, to)
    }

    fn decrypt(&mut self, iv: &[u8; 16], from: &[u8], to: &mut [u8]) -> Result<(), CryptoError> {
        self.apply(iv, from, to)
    }
}

/// AES in Galois counter mode (RFC 7714), by ring. `None` for a key that is no key, which the
/// arrays that str0m gives rule out.
struct Gcm(Option<LessSafeKey>);

impl std::fmt::Debug for Gcm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gcm")
    }
}

impl Gcm {
    fn new(algorithm: &'static Algorithm, key: &[u8]) -> Self {
        Self(UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new))
    }

    fn key(&self) -> Result<&LessSafeKey, CryptoError> {
        self.0.as_ref().ok_or_else(|| failed("a key of no length"))
    }

    fn seal(
        &self,
        iv: &[u8; 12],
        aad: &[u8],
        from: &[u8],
        to: &mut [u8],
    ) -> Result<(), CryptoError> {
        let (body, rest) = to
            .split_at_mut_checked(from.len())
            .ok_or_else(|| failed("no room for a packet"))?;
        let place = rest
            .first_chunk_mut::<TAG>()
            .ok_or_else(|| failed("no room for a tag"))?;
        body.copy_from_slice(from);
        let nonce = Nonce::assume_unique_for_key(*iv);
        let tag = self
            .key()?
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .map_err(|_| failed("a packet could not be encrypted"))?;
        place.copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn open(
        &self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        from: &[u8],
        to: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let nonce = Nonce::assume_unique_for_key(*iv);
        // ring wants the tag behind the text, str0m has no room for it there.
        let mut text = from.to_vec();
        let aad = aads.concat();
        let opened = self
            .key()?
            .open_in_place(nonce, Aad::from(aad), &mut text)
            .map_err(|_| failed("a packet could not be decrypted"))?;
        to.get_mut(..opened.len())
            .ok_or_else(|| failed("no room for a packet"))?
            .copy_from_slice(opened);
        Ok(opened.len())
    }
}

impl AeadAes128GcmCipher for Gcm {
    fn encrypt(
        &mut self,
        iv: &[u8; 12],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.seal(iv, aad, input, output)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        self.open(iv, aads, input, output)
    }
}

impl AeadAes256GcmCipher for Gcm {
    fn encrypt(
        &mut self,
        iv: &[u8; 12],
        aad: &[u8],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.seal(iv, aad, input, output)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 12],
        aads: &[&[u8]],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, CryptoError> {
        self.open(iv, aads, input, output)
    }
}

fn failed(what: &str) -> CryptoError {
    CryptoError::Other(what.to_owned())
}

impl Sha1HmacProvider for Srtp {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let key = hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let mut context = hmac::Context::with_key(&key);
        for payload in payloads {
            context.update(payload);
        }
        exactly(context.sign().as_ref())
    }
}

impl Sha1Provider for Srtp {
    fn sha1(&self, data: &[u8]) -> [u8; 20] {
        exactly(digest(&SHA1_FOR_LEGACY_USE_ONLY, data).as_ref())
    }
}

impl Sha256Provider for Srtp {
    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        exactly(digest(&SHA256, data).as_ref())
    }
}

/// A hash of a fixed length as an array of it.
fn exactly<const N: usize>(hash: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(hash) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn counter_mode_is_rfc_3711_b2() {
        let key: [u8; 16] = hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().unwrap();
        let iv: [u8; 16] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
        let mut cipher = SupportedAes128CmSha1_80::create_cipher(&Srtp, key, true);
        let first = "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB41E95B3BB0A2E8DD477901E4FCA894C0";
        // Up to the counter FEFF and over it; not a whole number of blocks.
        let mut stream = vec![0; 0xFF02 * 16 + 5];
        let zeros = stream.clone();
        cipher.encrypt(&iv, &zeros, &mut stream).unwrap();
        assert_eq!(stream[..48], hex(first));
        let last = "EC8CDF7398607CB0F2D21675EA9EA1E4362B7C3C6773516318A077D7FC5073AE6A2CC3787889374FBEB4C81B17BA6C44";
        assert_eq!(stream[0xFEFF * 16..0xFF02 * 16], hex(last));
        // Room behind is left alone, and there and back is the same.
        let mut there = [9; 40];
        cipher.encrypt(&iv, b"some media", &mut there).unwrap();
        assert_eq!(there[10..], [9; 30]);
        let mut back = [0; 10];
        cipher.decrypt(&iv, &there[..10], &mut back).unwrap();
        assert_eq!(&back, b"some media");
        assert!(cipher.encrypt(&iv, b"some media", &mut [0; 9]).is_err());
    }

    #[test]
    fn gcm_goes_there_and_back_and_notices_a_changed_byte() {
        let mut gcm = SupportedAeadAes256Gcm::create_cipher(&Srtp, [7; 32], true);
        let (iv, mut sealed, mut opened) = ([1; 12], [0; 26], [0; 10]);
        gcm.encrypt(&iv, b"head", b"some media", &mut sealed)
            .unwrap();
        let good = gcm.decrypt(&iv, &[b"he", b"ad"], &sealed, &mut opened);
        assert_eq!((good.unwrap(), &opened), (10, b"some media"));
        assert!(gcm.decrypt(&iv, &[b"hEad"], &sealed, &mut opened).is_err());
        sealed[3] ^= 1;
        assert!(gcm.decrypt(&iv, &[b"head"], &sealed, &mut opened).is_err());
        assert!(gcm.encrypt(&iv, b"", b"some media", &mut [0; 25]).is_err());
    }

    #[test]
    fn hashes_are_the_usual_ones() {
        // RFC 2202, 3, case 2; FIPS 180.
        assert_eq!(
            Srtp.sha1_hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"])
                .to_vec(),
            hex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
        );
        assert_eq!(
            Srtp.sha1(b"abc").to_vec(),
            hex("a9993e364706816aba3e25717850c26c9cd0d89d")
        );
        assert_eq!(Srtp.sha256(b"abc")[..4], hex("ba7816bf"));
    }
}

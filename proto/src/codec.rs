//! The codec of generated clients and servers.

use std::{fmt, marker::PhantomData};

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Prost's, with buffers as large as a few events of an answer. They grow for what is larger; those of a stream that
/// waits stay, two on either side of each hop, where tonic's own begin with 8 KiB.
pub(crate) struct EventCodec<T, U>(PhantomData<(T, U)>);

const BUFFER: usize = 512;
/// tonic's own: what has been encoded leaves once there is so much of it.
const LEAVES_AT: usize = 32 << 10;

impl<T, U> Default for EventCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> fmt::Debug for EventCodec<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventCodec")
    }
}

impl<T, U> Codec for EventCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER, LEAVES_AT))
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER, LEAVES_AT))
    }
}

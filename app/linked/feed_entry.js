// Entry of the component that only brings bytes.
export default function ({ data }) {
  if (data instanceof Uint8Array && data.byteLength > 4) keepFeed(data);
}

// Entry of the component that brings one panel of the board its data.
export default function ({ data }) {
  if (data instanceof Uint8Array && data.byteLength > 4) keepPart(data);
}

// A place for a photo: click it, or drop a file on it. What is too large is not sent: only its name and size are.

function render({ model, el }) {
  const place = document.createElement("label");
  place.className = "mt-drop";
  const words = document.createElement("span");
  words.textContent = "Send a photo of yours";
  const kinds = document.createElement("small");
  kinds.textContent = `JPEG, PNG, WebP, up to ${model.get("limit") / 1e6} MB; or drop it here`;
  const input = document.createElement("input");
  input.type = "file";
  input.accept = "image/*";
  place.append(words, kinds, input);
  el.append(place);

  async function take(file) {
    if (!file) return;
    const about = { name: file.name, size: file.size };
    place.classList.add("mt-sending");
    try {
      const content = file.size > model.get("limit") ? [] : [await file.arrayBuffer()];
      model.send(about, undefined, content);
    } catch {
      model.send({ ...about, unreadable: true }); // a folder, or a file that has gone
    }
    place.classList.remove("mt-sending");
    input.value = ""; // so that the same file can be sent again
  }

  input.addEventListener("change", () => take(input.files[0]));
  place.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
  for (const kind of ["dragenter", "dragover"]) place.addEventListener(kind, () => place.classList.add("mt-over"));
  for (const kind of ["dragleave", "drop"]) place.addEventListener(kind, () => place.classList.remove("mt-over"));
  // A file that misses the place must not replace the page.
  const stay = (event) => event.preventDefault();
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, stay);
  return () => {
    for (const kind of ["dragover", "drop"]) window.removeEventListener(kind, stay);
  };
}

export default { render };

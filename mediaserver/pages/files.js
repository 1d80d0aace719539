// Files that are chosen in an input or dropped on a place.

export function takeFiles(input, place, take) {
  input.addEventListener("change", () => take(input.files[0]));
  for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    place.addEventListener(name, (event) => {
      event.preventDefault();
      place.toggleAttribute("data-over", over);
      if (name === "drop") take(event.dataTransfer.files[0]);
    });
  }
}

/** What the subjects are put over: nothing, a colour of the palette, another colour, a picture. */

/** Tell `onChange` of every choice in the fieldset: `{}`, `{color}` or `{bitmap}`, and what it is called. */
export function chosenBackground(fieldset, onChange) {
  const swatches = [...fieldset.querySelectorAll("input[type=radio]")];
  const own = fieldset.querySelector("input[type=color]");
  const file = fieldset.querySelector("input[type=file]");

  function choose(input, background, name) {
    for (const swatch of swatches) swatch.checked = swatch === input;
    for (const other of [own, file]) other.parentElement.classList.toggle("chosen", other === input);
    onChange(background, name);
  }

  for (const swatch of swatches) {
    const name = swatch.parentElement.textContent.trim();
    if (swatch.value) swatch.parentElement.style.setProperty("--color", swatch.value);
    swatch.addEventListener("change", () => choose(swatch, swatch.value ? { color: swatch.value } : {}, name));
  }
  own.addEventListener("input", () => {
    own.parentElement.style.setProperty("--color", own.value);
    choose(own, { color: own.value }, own.value);
  });
  file.addEventListener("change", async () => {
    const [picture] = file.files;
    if (!picture) return;
    try {
      choose(file, { bitmap: await createImageBitmap(picture) }, picture.name);
    } catch {
      onChange({}, `none, since this browser cannot read ${picture.name}`);
    }
    file.value = "";
  });
}

/** The dialog that asks for a key, where the service wants one. */

let asking = null;

/** A key from the user, other than `old`, one dialog for all who ask. Throws if none is given. */
export function askKey(old, reason) {
  asking ??= ask(old, reason).finally(() => {
    asking = null;
  });
  return asking;
}

function ask(old, reason) {
  const dialog = document.querySelector("#key");
  const field = dialog.querySelector("input");
  field.value = old;
  dialog.querySelector(".reason").textContent = reason;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    const closed = () =>
      dialog.returnValue === "give" && field.value ? resolve(field.value) : reject(new Error("The service wants a key."));
    dialog.addEventListener("close", closed, { once: true });
  });
}

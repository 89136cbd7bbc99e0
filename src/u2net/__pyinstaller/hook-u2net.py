"""The packaged models, the service's page, and the modules of names that are loaded when first used."""

from PyInstaller.utils.hooks import collect_data_files

import u2net

datas = collect_data_files("u2net")
hiddenimports = sorted({*u2net._HOME.values(), *(f"u2net.{name}" for name in u2net._OF_REMBG)})
module_collection_mode = "pyz+py"  # the help of the command's options is in the sources of the configurations

package io.glueconnect.spark;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.attribute.PosixFilePermissions;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RawLocalFileSystem;
import org.apache.hadoop.fs.permission.FsAction;
import org.apache.hadoop.fs.permission.FsPermission;

/**
 * Local files as they are: without a checksum file beside each, and without the process that Hadoop starts for the permissions
 * of each file and folder where its native library is missing, as it is here. For what few rows cost to write, both count.
 */
public final class PlainFiles extends RawLocalFileSystem {
  @Override
  public void setPermission(Path path, FsPermission permission) throws IOException {
    // A sticky bit has no place among Java's permissions.
    if (permission.getStickyBit()) {
      super.setPermission(path, permission);
      return;
    }
    FsAction[] actions = {permission.getUserAction(), permission.getGroupAction(), permission.getOtherAction()};
    StringBuilder text = new StringBuilder();
    for (FsAction action : actions) text.append(action.SYMBOL);
    try {
      Files.setPosixFilePermissions(pathToFile(path).toPath(), PosixFilePermissions.fromString(text.toString()));
    } catch (UnsupportedOperationException withoutPosix) {
      super.setPermission(path, permission);
    }
  }
}
